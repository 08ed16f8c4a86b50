"""Display of a drift report in a terminal, at most 100 columns wide except for ids."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram.drift.comparison import DriftReport, FeatureDrift

_STYLES = {"drifted": "bold red", "changed": "yellow", "stable": "green", "calendar": "dim"}


def print_drift(console: Console, report: DriftReport) -> None:
    """Print the compared rows, the index of each feature, and the decision."""
    for line in _rows(report):
        console.print(line, soft_wrap=True)
    # A trigger is text of a message, in which `[` is no markup.
    for notice in report.notices:
        console.print(Text(notice, style="yellow"))
    if report.features:
        console.print(_table(report))
    style = "yellow" if report.missing else "bold red" if report.drifted else "bold green"
    console.print(Text(report.summary, style=style))


def _rows(report: DriftReport) -> list[str]:
    window = f"{report.window.since:%Y-%m-%d %H:%M} to {report.window.until:%Y-%m-%d %H:%M} UTC"
    lines = [f"Served:   {report.served_rows:,} decisions from {window}{_points(report.served)}"]
    if report.snapshot_id is not None:
        model = "" if report.model_version is None else f" (model version {report.model_version} is in use)"
        rows = f"{report.training_rows:,} rows{_points(report.training)}"
        lines.append(f"Training: {rows}, snapshot {report.snapshot_id}{model}")
    return lines


def _points(rows: dict[int, int]) -> str:
    return f" ({', '.join(f'{number:,} at {minutes} min' for minutes, number in rows.items())})" if rows else ""


def _table(report: DriftReport) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("feature")
    table.add_column("index", justify="right")
    table.add_column("")
    table.add_column("largest change of a share: training → decisions")
    for feature in report.ranked:
        verdict = Text(feature.verdict, style=_STYLES[feature.verdict])
        table.add_row(feature.name, f"{feature.psi:.3f}", verdict, _change(feature))
    return table


def _change(feature: FeatureDrift) -> str:
    largest = max(feature.bins, key=lambda share: share.term)
    if largest.term == 0:
        return ""
    return f"{largest.label}: {100 * largest.training:.0f} % → {100 * largest.served:.0f} %"
