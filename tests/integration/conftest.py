"""Fixtures of the integration tests."""

from tests.support.api_fixtures import api_environment, api_v2
from tests.support.training_pipeline import pipeline

__all__ = ["api_environment", "api_v2", "pipeline"]
