"""Display of a comparison in a terminal, at most 100 columns wide except for commands."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram_tools.cli.models_view import print_metrics
from gourmetgram_tools.comparison.decisions import DecisionComparison
from gourmetgram_tools.comparison.report import Comparison, held_out_disagreements


def print_comparison(console: Console, comparison: Comparison, examples: int) -> None:
    """Print metrics, decisions by mode and trigger, and disagreements."""
    if comparison.held_out is None:
        console.print(Text(comparison.missing, style="yellow"))
    else:
        found = comparison.held_out
        held_out = f"{found.scores.balance.rows:,} held-out rows, label horizon {found.horizon_minutes} minutes"
        console.print(f"Model version {found.version}, {held_out}")
        print_metrics(console, found.model, found.rules)
        apart = held_out_disagreements(found)
        console.print(f"They advise differently on {len(apart):,} held-out rows.")
        for row in apart[:examples]:
            happened = "flagged" if row.flagged else "not flagged"
            _print_apart(console, f"{row.minutes} min, {happened}", row.rules, row.by_rules, row.model, row.by_model)
            console.print(f"    {comparison.trace(row.image_id)}", style="dim", soft_wrap=True)
    _print_counts(console, comparison.decisions)
    opinions, apart_now = comparison.decisions.opinions, comparison.decisions.disagreements
    console.print(f"On {len(opinions):,} requests both gave an opinion; they advise differently on {len(apart_now):,}.")
    for each in apart_now[:examples]:
        _print_apart(console, f"{each.trigger}, {each.mode}", each.rules, each.by_rules, each.model, each.by_model)
        console.print(f"    {comparison.trace(each.image_id)}", style="dim", soft_wrap=True)


def _print_counts(console: Console, decisions: DecisionComparison) -> None:
    table = Table(title="Decisions by mode and trigger", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("mode")
    table.add_column("trigger")
    for heading in ("decisions", "mean score", "SAFE", "REVIEW", "FLAG"):
        table.add_column(heading, justify="right")
    for row in decisions.counts:
        numbers = (f"{row.decisions:,}", f"{row.mean_score:.3f}", f"{row.safe:,}", f"{row.review:,}", f"{row.flag:,}")
        table.add_row(row.mode, Text(row.trigger), *numbers)
    console.print(table)


def _print_apart(console: Console, what: str, rules: float, by_rules: str, model: float, by_model: str) -> None:
    # A trigger is text of a message, in which `[` is no markup.
    console.print(f"  {what}: rules {rules:.2f} {by_rules}, model {model:.2f} {by_model}", markup=False)
