"""`gourmetgram trace`: one image, or one event, through every store."""

from typing import Annotated

import typer

from gourmetgram.errors import PermanentError
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption, selected_platform


def trace(
    context: typer.Context,
    image_id: Annotated[str | None, typer.Argument(help="The image's id, or its first 8 or more characters.")] = None,
    event: Annotated[str | None, typer.Option("--event", help="Trace one event, by its id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Show an image in every store: rows, object, events, windows, requests, decisions, as one timeline."""
    # Imported here: the clients of the stores take a second to import, which `status` does not need.
    from gourmetgram_tools.cli.output import page, print_json
    from gourmetgram_tools.cli.trace_view import print_event, print_trace
    from gourmetgram_tools.inspection.event_trace import parse_event_id, trace_event
    from gourmetgram_tools.inspection.rows import check_image_id
    from gourmetgram_tools.inspection.trace import trace as trace_image

    if image_id is None and event is None:
        raise PermanentError("Give the id of an image, or `--event` with the id of an event.")
    if image_id is not None:
        check_image_id(image_id)
    if event is not None:
        parse_event_id(event)
    running_environment(context, stack, target)
    platform = selected_platform(context, stack, target)
    if event is not None:
        followed = trace_event(platform, event, image_id)
        if as_json:
            print_json(followed.to_json())
        else:
            print_event(page(), followed)
        return
    found = trace_image(platform, str(image_id))
    if not found.found:
        raise PermanentError(f"No store knows image {found.image_id}.")
    if as_json:
        print_json(found.to_json())
    else:
        print_trace(page(), found)
