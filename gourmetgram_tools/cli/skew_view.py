"""Display of a comparison of online and offline features, at most 100 columns wide except for long ids."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram_tools.inspection.skew import SkewResult


def print_skew(console: Console, result: SkewResult, examples: int = 10) -> None:
    """Print the number of compared vectors, the omitted ones with reasons, and the differences."""
    console.print(f"Compared {result.compared:,} of {result.vectors:,} stored feature vectors with offline ones.")
    for reason, number in result.in_part.items():
        console.print(Text(f"  {number:,} without their window counts: {reason}"), style="dim")
    for reason, number in result.skipped.items():
        console.print(Text(f"  {number:,} not compared: {reason}"), style="yellow")
    if result.differences:
        console.print(_by_feature(result))
        for example in result.examples[:examples]:
            console.print(
                f"  image {example.image_id}, request {example.request_id}: {example.feature} "
                f"stored {example.stored:g}, offline {example.offline:g}",
                soft_wrap=True,
            )
        console.print(f"{result.differences:,} differences.", style="bold red")
    elif result.compared:
        console.print("No differences: the features are equal.", style="bold green")
    else:
        console.print("Nothing could be compared.", style="yellow")


def _by_feature(result: SkewResult) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("feature")
    table.add_column("differences", justify="right")
    for feature, number in result.by_feature.most_common():
        table.add_row(feature, f"{number:,}")
    return table
