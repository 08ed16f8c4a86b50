"""Display of training runs and versions, at most 100 columns wide."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram.models.package import mlflow_origin
from gourmetgram.models.publishing import ModelPublisher, PublishedModel
from gourmetgram.training.evaluation import FIGURES, Metrics, decimals
from gourmetgram.training.run import TrainingRun
from gourmetgram.training.trainer import Balance


def print_training(console: Console, run: TrainingRun, folder: Path) -> None:
    """Print the rows of a training run, and the metrics of its result."""
    console.print(f"Training from Iceberg snapshot: {run.snapshot_id}")
    console.print(f"label horizon {run.choice.minutes} minutes: {run.choice.reason}", soft_wrap=True)
    console.print(f"learned from  {_described(run.balance, run.choice.split.train_images)}")
    console.print(f"held out      {_described(run.scores.balance, run.choice.split.held_out_images)},")
    console.print(f"              uploaded from {run.choice.split.held_out_from:%Y-%m-%d %H:%M:%S} UTC on")
    print_metrics(console, run.model, run.rules)
    console.print(f"Model version {run.package.metadata['version']} is in {folder}/", soft_wrap=True)


def print_metrics(console: Console, model: Metrics, rules: Metrics) -> None:
    """Print the metrics of model and rules side by side, with the reason of each undefined one."""
    table = Table(title="On the held-out rows", title_justify="left", box=SIMPLE_HEAD)
    for heading, justify in (("", "left"), ("model", "right"), ("rules (v1)", "right"), ("better is", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for name, (title, better) in FIGURES.items():
        table.add_row(title, decimals(getattr(model, name)), decimals(getattr(rules, name)), better)
    console.print(table)
    for name, reason in model.undefined.items():
        console.print(Text(f"{FIGURES[name][0]} is undefined: {reason}.", style="yellow"))


def print_versions(console: Console, publisher: ModelPublisher, versions: Sequence[PublishedModel]) -> None:
    """Print the published versions."""
    if not versions:
        console.print(f"No model is published at {publisher.address}: `gourmetgram train --publish`.", soft_wrap=True)
        return
    table = Table(title=f"Models at {publisher.address}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("", "version", "trained at (UTC)", "rows", "AP", "AP rules", "AUC", "snapshot"):
        table.add_column(heading, justify="right" if heading not in {"", "trained at (UTC)"} else "left")
    for found in versions:
        document = found.metadata
        table.add_row(
            Text("● in use", style="green") if found.active else "",
            str(found.version),
            Text(str(document.get("trained_at", ""))[:19].replace("T", " ")),
            f"{document.get('rows_seen', 0):,}",
            _metric(document, "model", "average_precision"),
            _metric(document, "heuristic", "average_precision"),
            _metric(document, "model", "auc"),
            str(document.get("snapshot_id", "")),
        )
    console.print(table)
    for found in versions:
        if found.problem:
            console.print(Text(f"Version {found.version} is not served: {found.problem}.", style="yellow"))
        registered = _registered(found.metadata)
        if registered:
            console.print(f"Version {found.version} is {registered}", soft_wrap=True)


def print_published(console: Console, publisher: ModelPublisher, version: int) -> None:
    """Print the objects of the served model."""
    console.print(f"Version {version} is in use at s3://{publisher.bucket}/:", soft_wrap=True)
    for key in publisher.served_keys:
        console.print(f"  {key}", soft_wrap=True)


def _described(balance: Balance, images: int) -> str:
    return f"{balance.rows:,} rows of {images:,} images: {balance.positive:,} flagged, {balance.negative:,} not"


def _registered(document: dict[str, Any]) -> str:
    """Version and registered name in MLflow; empty for a model that did not come from there."""
    lineage = mlflow_origin(document)
    if "model_name" not in lineage:
        return ""
    return f"version {lineage.get('model_version')} of {lineage['model_name']} in MLflow"


def _metric(document: dict[str, Any], whose: str, name: str) -> str:
    value = document.get("metrics", {}).get(whose, {}).get(name)
    return decimals(value) if isinstance(value, int | float) else "-"
