"""`gourmetgram train` and `gourmetgram models`: from a snapshot to the served model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gourmetgram.errors import PermanentError
from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.model_store import publisher_of
from gourmetgram_tools.cli.registry import moderation_config, publish_from_registry, train_registered
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption
from gourmetgram_tools.local.mlflow import MLFLOW

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
    with_removed: Annotated[
        bool,
        typer.Option(
            "--with-removed", help="With --snapshot: also rows of images that were deleted or became ineligible."
        ),
    ] = False,
    passes: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training rows (default: enough for so many rows).")
    ] = None,
    horizon_minutes: Annotated[
        int | None,
        typer.Option(min=1, max=1440, help="Label horizon in minutes (default: the longest that fits the data)."),
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Publish the model, for the scorer to serve.")] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Log the run to MLflow, and register the model (alias latest-model).")
    ] = False,
    env: Annotated[str, typer.Option("--env", help="With --register: environment, dev, acc or prd.")] = "dev",
    as_json: Annotated[bool, typer.Option("--json", help="Print metadata.json, and nothing else.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Train a model from a snapshot of the training table, and compare it with the rules on later images.

    With --register, --publish publishes only a model that is better than the served one, like `models publish --from`.
    """
    config = moderation_config(env) if register else None
    variables = running_environment(context, stack, target, ("postgres", "minio", *((MLFLOW,) if register else ())))
    # Imported here: scikit-learn and PyIceberg take seconds to import, which `status` does not need.
    from gourmetgram.models.package import write_package
    from gourmetgram_tools.cli.models_view import print_published, print_training
    from gourmetgram_tools.cli.output import page, print_json

    publisher = publisher_of(variables)
    run = trained(variables, publisher, horizon_minutes, snapshot, passes, with_removed=with_removed)
    if config is not None:
        train_registered(variables, publisher, run, config, folder, publish=publish, as_json=as_json)
        return
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
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder of the four files of a model (default: models).")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="ADDRESS", help="Registered model: models:/NAME@ALIAS, models:/NAME/3."),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(
            "--force", metavar="REASON", help="With --from: publish a model that is not better; keeps the reason."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --from: print one JSON document.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Publish a model as the next version, and serve it: from a folder, or from MLflow's registry.

    A registered model is published only if it is better than the served one on images that neither has learned from.
    """
    if source is not None and folder is not None:
        raise PermanentError("Give --folder or --from, not both.")
    if source is not None:
        publish_from_registry(context, source, force, stack, target, as_json=as_json)
        return
    if force is not None:
        raise PermanentError("--force belongs to --from: a model from a folder is published without a comparison.")
    folder = folder or DEFAULT_FOLDER
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
def sign(
    context: typer.Context,
    version: Annotated[int, typer.Argument(min=1, help="As `models list` shows it.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Sign without asking; a script is never asked.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Sign a stored version with the newest key: one of the time before signatures, or of an older key.

    Only sign files whose origin you know: every program that may write into the bucket could have put them there.
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Are you sure that version {version} comes from a training of yours?", abort=True)
    publisher = publisher_of(running_environment(context, stack, target, ("minio",)))
    package = publisher.sign(version)
    for name, digest in package.metadata["sha256"].items():
        console.print(f"{digest}  {name}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"Version {version} is signed. Serve it with `gourmetgram models activate {version}`.",
        highlight=False,
        soft_wrap=True,
    )


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
    *,
    with_removed: bool = False,
) -> "TrainingRun":
    """Train the next version, with its steps shown on standard error.

    Args:
        variables: settings of the platform.
        publisher: gives the next version number.
        horizon_minutes: label horizon; None = the setting, or without one the longest that fits the data.
        snapshot: Iceberg snapshot; None = the newest.
        passes: passes over the rows; None = enough for their number.
        with_removed: True to accept rows of images that were deleted or became ineligible.

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
            with_removed=with_removed,
            passes=passes,
            report=lambda text: status.update(f"Training: {text}"),
        )


def _print_in_use(publisher: "ModelPublisher", model: "PublishedModel") -> None:
    console.print(f"Version {model.version} is in use at {publisher.address}", highlight=False, soft_wrap=True)
