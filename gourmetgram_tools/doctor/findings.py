"""Findings of an examination."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity of a finding. Only a problem keeps the lab from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        check: subject of the check.
        seen: observation, in one sentence.
        advice: remedy; empty when all is well.
    """

    check: str
    level: Level
    seen: str
    advice: str = ""


def ok(check: str, seen: str) -> Finding:
    """Finding without a problem."""
    return Finding(check, Level.OK, seen)


def warning(check: str, seen: str, advice: str) -> Finding:
    """Finding with which the lab works, but not as well as it should."""
    return Finding(check, Level.WARNING, seen, advice)


def problem(check: str, seen: str, advice: str) -> Finding:
    """Finding with which the lab does not work."""
    return Finding(check, Level.PROBLEM, seen, advice)
