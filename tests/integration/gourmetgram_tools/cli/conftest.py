"""Fixtures of the tests of the command line."""

from tests.support.command import run_fixture

__all__ = ["run_fixture"]
