"""A model's life with MLflow: train, evaluate, register, wrap, and load again, for two projects."""
