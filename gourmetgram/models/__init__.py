"""Trained models: their artifacts, the checks before loading, and their store."""
