"""The drift report as one self-contained HTML file, which also opens among the artifacts of MLflow's pages."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from gourmetgram.drift.comparison import DriftReport
from gourmetgram.drift.stability import CHANGED_FROM, DRIFTED_ABOVE


def write_drift_report(report: DriftReport, path: Path) -> None:
    """Write the HTML file, and create its folder when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(drift_page(report), encoding="utf-8")


def drift_page(report: DriftReport) -> str:
    """The HTML text."""
    loader = PackageLoader("gourmetgram.drift", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template("report.html.j2")
    return template.render(report=report, changed_from=CHANGED_FROM, drifted_above=DRIFTED_ABOVE)
