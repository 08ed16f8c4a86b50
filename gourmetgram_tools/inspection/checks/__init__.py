"""The audit's checks: a name, a statement, and queries on the stores' tables that find its differences."""

from typing import Final

from gourmetgram_tools.inspection.checks.check import Check, Note
from gourmetgram_tools.inspection.checks.event_checks import EVENT_CHECKS
from gourmetgram_tools.inspection.checks.lakehouse_checks import LAKEHOUSE_CHECKS, TRAINING_CHECKS
from gourmetgram_tools.inspection.checks.notes import take_notes
from gourmetgram_tools.inspection.checks.redis_checks import REDIS_CHECKS
from gourmetgram_tools.inspection.checks.request_checks import REQUEST_CHECKS
from gourmetgram_tools.inspection.lakehouse import LakeReading
from gourmetgram_tools.inspection.tables import StoreTables

__all__ = ["Check", "Note", "run_checks", "take_notes"]

_CHECKS: Final = (*EVENT_CHECKS, *REDIS_CHECKS, *REQUEST_CHECKS)


def run_checks(tables: StoreTables, lake: LakeReading) -> list[Check]:
    """List all checks in the order of the data flow; those of Iceberg only for existing tables.

    Args:
        tables: loaded tables, with the facts of `derive`.
        lake: existing Iceberg tables.
    """
    queries = [*_CHECKS]
    if lake.has_events:
        queries += LAKEHOUSE_CHECKS
    if lake.has_training:
        queries += TRAINING_CHECKS
    return [query.run(tables) for query in queries]
