"""`gourmetgram train` and `gourmetgram models`: from a snapshot to the served model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption

if TYPE_CHECKING:
    from gourmetgram.models.publishing import ModelPublisher, PublishedModel
    from gourmetgram.training.run import TrainingRun

models = typer.Typer(help="Models: publish one, list them, choose the one that is served.", no_args_is_help=True)

DEFAULT_FOLDER = Path("models")
FolderOption = Annotated[Path, typer.Option("--folder", help="Folder of the four files of a model.")]


def train(
    context: typer.Context,
    folder: FolderOption = DEFAULT_FOLDER,
    snapshot: Annotated[
        int | None, typer.Option(help="Iceberg snapshot of moderation.training_data (default: the newest).")
    ] = None,
    passes: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training rows (default: enough for so many rows).")
    ] = None,
    horizon_minutes: Annotated[
        int | None,
        typer.Option(min=1, max=1440, help="Label horizon in minutes (default: the longest that fits the data)."),
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Publish the model, for the scorer to serve.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metadata.json, and nothing else.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Train a model from a snapshot of the training table, and compare it with the rules on later images."""
    variables = running_environment(context, stack, target, ("postgres", "minio"))
    # Imported here: scikit-learn and PyIceberg take seconds to import, which `status` does not need.
    from gourmetgram.models.package import write_package
    from gourmetgram_tools.cli.models_view import print_published, print_training
    from gourmetgram_tools.cli.output import page, print_json

    publisher = publisher_of(variables)
    run = trained(variables, publisher, horizon_minutes, snapshot, passes)
    package = publisher.publish(run.package) if publish else run.package
    write_package(package, folder)
    if as_json:
        print_json(package.metadata)
        return
    print_training(page(), run, folder)
    if publish:
        print_published(page(), publisher, package.metadata["version"])


@models.command("publish")
def publish_model(
    context: typer.Context,
    folder: FolderOption = DEFAULT_FOLDER,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Publish the model of a folder as the next version, and serve it."""
    from gourmetgram.models.package import read_package, write_package
    from gourmetgram_tools.cli.models_view import print_published
    from gourmetgram_tools.cli.output import page

    package = read_package(folder)
    publisher = publisher_of(running_environment(context, stack, target, ("minio",)))
    published = publisher.publish(package)
    write_package(published, folder)
    print_published(page(), publisher, published.metadata["version"])


@models.command("list")
def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """List the published versions with their metrics on held-out images."""
    from gourmetgram_tools.cli.models_view import print_versions
    from gourmetgram_tools.cli.output import page, print_json

    publisher = publisher_of(running_environment(context, stack, target, ("minio",)))
    versions = publisher.versions()
    if as_json:
        print_json([found._asdict() for found in versions])
    else:
        print_versions(page(), publisher, versions)


@models.command()
def activate(
    context: typer.Context,
    version: Annotated[int, typer.Argument(min=1, help="As `models list` shows it.", show_default=False)],
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Serve a published version."""
    publisher = publisher_of(running_environment(context, stack, target, ("minio",)))
    _print_in_use(publisher, publisher.activate(version))


@models.command()
def rollback(context: typer.Context, stack: StackOption = None, target: TargetOption = Target.LOCAL) -> None:
    """Serve the version before the one in use."""
    publisher = publisher_of(running_environment(context, stack, target, ("minio",)))
    _print_in_use(publisher, publisher.rollback())


def trained(
    variables: dict[str, str],
    publisher: "ModelPublisher",
    horizon_minutes: int | None = None,
    snapshot: int | None = None,
    passes: int | None = None,
) -> "TrainingRun":
    """Train the next version, with its steps shown on standard error.

    Args:
        variables: settings of the platform.
        publisher: gives the next version number.
        horizon_minutes: label horizon; None = the setting, or without one the longest that fits the data.
        snapshot: Iceberg snapshot; None = the newest.
        passes: passes over the rows; None = enough for their number.

    Raises:
        PlatformError: a store is away, or the table has no usable rows.
    """
    from gourmetgram.lakehouse.catalog import open_catalog
    from gourmetgram.settings import IcebergSettings
    from gourmetgram.training.run import train as run_training
    from gourmetgram.training.settings import TrainingSettings

    horizon_minutes = horizon_minutes or TrainingSettings.load(variables).label_horizon_minutes
    with open_catalog(IcebergSettings.load(variables)) as catalog, errors.status("Training") as status:
        return run_training(
            catalog,
            version=publisher.next_version(),
            horizon_minutes=horizon_minutes,
            snapshot_id=snapshot,
            passes=passes,
            report=lambda text: status.update(f"Training: {text}"),
        )


def publisher_of(variables: dict[str, str]) -> "ModelPublisher":
    """Publisher of the model store that a platform's variables name."""
    from gourmetgram.models.publishing import ModelPublisher
    from gourmetgram.models.settings import ModelStoreSettings
    from gourmetgram.settings import ObjectStoreSettings

    store = ModelStoreSettings.load(variables)
    return ModelPublisher(ObjectStoreSettings.load(variables), store.model_bucket, store.model_prefix)


def _print_in_use(publisher: "ModelPublisher", model: "PublishedModel") -> None:
    console.print(f"Version {model.version} is in use at {publisher.address}", highlight=False, soft_wrap=True)
