"""The audit's checks: pure functions of what was read from the stores."""

from typing import Final

from gourmetgram_tools.inspection.checks.decision_checks import DECISION_CHECKS
from gourmetgram_tools.inspection.checks.event_checks import EVENT_CHECKS
from gourmetgram_tools.inspection.checks.facts import Check, Facts, Note
from gourmetgram_tools.inspection.checks.lakehouse_checks import lakehouse_checks
from gourmetgram_tools.inspection.checks.notes import notes
from gourmetgram_tools.inspection.checks.object_checks import OBJECT_CHECKS
from gourmetgram_tools.inspection.checks.redis_checks import REDIS_CHECKS
from gourmetgram_tools.inspection.checks.request_checks import REQUEST_CHECKS

__all__ = ["Check", "Facts", "Note", "notes", "run_checks"]

_CHECKS: Final = (*EVENT_CHECKS, *OBJECT_CHECKS, *REDIS_CHECKS, *REQUEST_CHECKS, *DECISION_CHECKS)


def run_checks(facts: Facts) -> list[Check]:
    """All checks, in the order in which data flows through the stores."""
    return [*(check(facts) for check in _CHECKS), *lakehouse_checks(facts)]
