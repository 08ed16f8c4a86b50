"""Trained models: what belongs to one, how it is checked and loaded, and where it is kept."""
