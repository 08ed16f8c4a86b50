"""The pipeline of the training data, for both engines."""

from tests.support.training_pipeline import pipeline

__all__ = ["pipeline"]
