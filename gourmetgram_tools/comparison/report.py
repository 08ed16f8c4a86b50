"""The comparison as one self-contained HTML file, with its styles and plots inside."""

import base64
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from gourmetgram.policy.recommendation import Recommendation, recommend
from gourmetgram.training import plots
from gourmetgram.training.evaluation import FIGURES, decimals
from gourmetgram_tools.comparison.decisions import DecisionComparison
from gourmetgram_tools.comparison.held_out import HeldOutComparison

MAX_DISAGREEMENTS: Final = 50


class Comparison(NamedTuple):
    """Parts of a comparison; `missing` gives the reason of a missing part.

    Attributes:
        decisions: rows of `moderation`.
        held_out: rows of the training table; None without a model or a table.
        missing: reason for which `held_out` is None.
        trace_command: command that traces an image, with the placeholder `{image_id}`.
    """

    decisions: DecisionComparison
    held_out: HeldOutComparison | None
    missing: str
    trace_command: str = "gourmetgram trace {image_id}"

    def trace(self, image_id: str) -> str:
        """Command that traces an image."""
        return self.trace_command.format(image_id=image_id)


class HeldOutDisagreement(NamedTuple):
    """A held-out row with different recommendations of model and rules."""

    image_id: str
    minutes: int
    flagged: bool
    rules: float
    by_rules: Recommendation
    model: float
    by_model: Recommendation

    @property
    def nearer(self) -> str:
        """Name of the scorer that is nearer to the label."""
        model_is = abs(self.model - self.flagged) < abs(self.rules - self.flagged)
        return "model" if model_is else "rules"


def held_out_disagreements(found: HeldOutComparison) -> list[HeldOutDisagreement]:
    """Rows with different recommendations, the widest apart first."""
    scores = found.scores
    columns = (scores.image_ids, scores.minutes, scores.labels, scores.rules, scores.model)
    rows = [
        HeldOutDisagreement(image, int(minutes), bool(label), rules, recommend(rules), model, recommend(model))
        for image, minutes, label, rules, model in zip(
            *(column if isinstance(column, list) else column.tolist() for column in columns), strict=True
        )
    ]
    return sorted((row for row in rows if row.by_rules != row.by_model), key=lambda row: -abs(row.rules - row.model))


def write_report(comparison: Comparison, path: Path) -> None:
    """Write the HTML file, and create its folder when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(comparison), encoding="utf-8")


def render(comparison: Comparison) -> str:
    """Render the HTML text."""
    loader = PackageLoader("gourmetgram_tools.comparison", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    held_out = comparison.held_out
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        decisions=comparison.decisions,
        held_out=held_out,
        apart=[] if held_out is None else held_out_disagreements(held_out),
        figures=FIGURES,
        decimals=decimals,
        limit=MAX_DISAGREEMENTS,
        made_at=datetime.now(UTC),
        pictures=_pictures(comparison),
    )


def _pictures(comparison: Comparison) -> dict[str, str]:
    """Data URLs of the plots by name."""
    figures: dict[str, Figure] = {}
    if comparison.decisions.opinions:
        rules, model = comparison.decisions.scores()
        figures["decision_scores"] = plots.score_distributions({"model": model, "rules": rules})
    if comparison.held_out is not None:
        found, scores = comparison.held_out, comparison.held_out.scores
        by_name = {"model": scores.model, "rules (v1)": scores.rules}
        figures["held_out_scores"] = plots.score_distributions(by_name, scores.labels)
        figures["precision_recall"] = plots.precision_recall(scores.labels, by_name, (found.model, found.rules))
        figures["calibration"] = plots.calibration({"model": found.model, "rules (v1)": found.rules})
    return {name: _data_url(figure) for name, figure in figures.items()}


def _data_url(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
