"""`gourmetgram skew`: comparison of served features with those that training would compute."""

from typing import TYPE_CHECKING, Annotated

import typer

from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption

if TYPE_CHECKING:
    from gourmetgram_tools.inspection.skew import SkewResult


def skew(
    context: typer.Context,
    examples: Annotated[int, typer.Option(min=0, help="Number of differences shown.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Compute every stored feature vector again offline and compare; exit 1 when they differ."""
    variables = running_environment(context, stack, target, ("postgres", "kafka", "minio"))
    # Imported here: PyIceberg, Ibis and DuckDB take seconds to import, which `status` does not need.
    from gourmetgram_tools.cli.output import page, print_json
    from gourmetgram_tools.cli.skew_view import print_skew

    result = measured(variables)
    if as_json:
        print_json(result.to_json())
    else:
        print_skew(page(), result, examples)
    if result.differences:
        raise typer.Exit(1)


def measured(variables: dict[str, str]) -> "SkewResult":
    """Measure the skew of the platform that the variables name, with the steps shown on standard error.

    Raises:
        PlatformError: a store is away, or there is no event history yet.
    """
    from gourmetgram.lakehouse.catalog import open_catalog
    from gourmetgram.settings import IcebergSettings, KafkaSettings, OfflineSettings, PostgresSettings
    from gourmetgram_tools.inspection.skew import measure_skew

    with errors.status("Skew") as status, open_catalog(IcebergSettings.load(variables)) as catalog:

        def report(text: str) -> None:
            status.update(f"Skew: {text}")

        return measure_skew(
            PostgresSettings.load(variables),
            KafkaSettings.load(variables),
            catalog,
            report,
            offline_settings=OfflineSettings.load(variables),
        )
