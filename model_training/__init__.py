"""Training outside of the platform's own commands: notebooks, the large table, and the model lifecycle with MLflow."""
