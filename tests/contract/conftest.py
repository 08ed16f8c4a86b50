"""Fixtures of the contract tests."""

from tests.support.api_fixtures import api, api_environment, api_v2

__all__ = ["api", "api_environment", "api_v2"]
