"""Texts from messages are printed as they are: `[` in them is no markup."""

from datetime import UTC, datetime

from rich.console import Console

from gourmetgram_tools.cli.compare_view import print_comparison
from gourmetgram_tools.comparison.decisions import DecisionComparison, ModeCount, Opinion
from gourmetgram_tools.comparison.report import Comparison

TRIGGER = "[/x]"


def test_a_trigger_with_brackets_is_printed() -> None:
    opinion = Opinion("0b8f6a1e", "shadow", TRIGGER, datetime(2026, 1, 1, tzinfo=UTC), 0.1, 0.9, "1")
    decisions = DecisionComparison([ModeCount("shadow", TRIGGER, 1, 0.1, 1, 0, 0)], [opinion])
    console = Console(record=True, width=100)
    print_comparison(console, Comparison(decisions, None, "no model"), 3)
    assert console.export_text().count(TRIGGER) == 2
