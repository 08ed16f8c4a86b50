"""`gourmetgram demo`: the whole platform at work, once, and left running to browse."""

from typing import Annotated

import typer


def demo(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=1, help="How long traffic runs before the burst.")] = 60.0,
) -> None:
    """Start everything, run traffic, make an image go viral, follow it, audit all stores; leave it running."""
    # Imported when it runs: database, object store and Redis clients take a second that `status` need not wait for.
    from gourmetgram.cli.demo_run import run_demo

    run_demo(context, seconds)
