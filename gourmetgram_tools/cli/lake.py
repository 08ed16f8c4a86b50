"""`gourmetgram lake`: repairs of the lakehouse that need a decision."""

from typing import Annotated

import typer

from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption

lake = typer.Typer(help="Lakehouse: accept lost records.", no_args_is_help=True)


@lake.callback()
def _lakehouse() -> None:
    """Keep `accept-gap` a subcommand, although it is the only one."""


@lake.command("accept-gap")
def accept_gap(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="The topic, e.g. gourmetgram.views.", show_default=False)],
    partition: Annotated[int, typer.Argument(min=0, help="Number of the partition.", show_default=False)],
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Record that records of one partition are lost, so that the aggregation goes on behind them.

    The error of a refused run names topic and partition. Nothing else changes: all tables keep their rows.
    """
    variables = running_environment(context, stack, target, ("postgres", "kafka", "minio"))
    from gourmetgram.kafka.partitions import Partition
    from gourmetgram.lakehouse.aggregation import Sources
    from gourmetgram.lakehouse.gaps import accept_gap as record_gap

    with errors.status("Comparing the broker with the table"):
        gap, snapshot_id = record_gap(Sources.load(variables), Partition(topic, partition))
    console.print(
        f"{topic}/{partition} goes on at offset {gap.end} (before: {gap.start}). Snapshot {snapshot_id} of "
        "event_aggregations.events records the gap.",
        highlight=False,
        soft_wrap=True,
    )
