"""Display of registered models and of the gate, at most 100 columns wide."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram.registry.connection import run_page
from gourmetgram.registry.gate import LaterImages
from gourmetgram.registry.publish import Publication
from gourmetgram.training.evaluation import FIGURES, decimals
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.sgd_model import RegisteredRun


def print_registered(console: Console, registered: RegisteredRun) -> None:
    """Print the name, the version and the run of a new registered model."""
    console.print(f"Registered: {registered.name} version {registered.version}, alias {ALIAS}", soft_wrap=True)
    console.print(f"  {run_page(registered.run_id, registered.experiment_id)}", soft_wrap=True)


def print_publication(console: Console, done: Publication) -> None:
    """Print the comparison of candidate and served model, and the decision of the gate."""
    console.print(f"Candidate: {done.registered}", soft_wrap=True)
    console.print(f"  {run_page(done.registered.run_id, done.registered.experiment_id)}", soft_wrap=True)
    if done.decision is None:
        console.print(f"Version {done.version} is this model already: only its tags were written.", soft_wrap=True)
        return
    if done.decision.figures:
        _print_figures(console, done.decision.figures, done.served_before)
    style = "green" if done.decision.passed else "yellow"
    verdict = "better" if done.decision.passed else "not better"
    console.print(Text(f"The candidate is {verdict}: {done.decision.reason}", style=style), soft_wrap=True)
    forced = done.package.metadata.get("forced")
    if forced is not None:
        console.print(f"Published all the same, because: {forced}", markup=False, soft_wrap=True)
    if not done.published:
        console.print('Nothing is published. `--force "REASON"` publishes it, and keeps the reason.', soft_wrap=True)


def _print_figures(console: Console, figures: LaterImages, served: int | None) -> None:
    rows = f"{figures.balance.rows:,} rows, {figures.balance.positive:,} flagged"
    title = f"Images uploaded from {figures.uploaded_from:%Y-%m-%d %H:%M:%S} UTC on: {rows}, label horizon"
    table = Table(title=f"{title} {figures.horizon_minutes} min", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in ("candidate", *([] if figures.served is None else [f"served ({served})"]), "rules (v1)"):
        table.add_column(heading, justify="right")
    table.add_column("better is")
    sides = [figures.candidate, *([] if figures.served is None else [figures.served]), figures.rules]
    for name, (heading, better) in FIGURES.items():
        table.add_row(heading, *(decimals(getattr(side, name)) for side in sides), better)
    console.print(table)
