"""`gourmetgram erase`: removal of a person or an image from every store."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gourmetgram.errors import PermanentError
from gourmetgram.events import parse_uuid
from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption, selected_platform

if TYPE_CHECKING:
    from gourmetgram_tools.erasure.erasing import ErasureResult
    from gourmetgram_tools.erasure.rows import Subject, SubjectType
    from gourmetgram_tools.inspection.platform import Platform

erase = typer.Typer(help="Erase persons and images from every store (docs/governance.md).", no_args_is_help=True)

DeadlineOption = Annotated[float, typer.Option(help="Seconds to wait for a service that is behind.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Ids = Annotated[list[str], typer.Argument(help="One or more ids.", show_default=False)]


@erase.command()
def user(
    context: typer.Context,
    ids: Ids,
    deadline: DeadlineOption = 120.0,
    as_json: JsonOption = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Erase persons: their rows, images, comments and flags, and whatever others wrote on their images."""
    checked = [_checked(each) for each in ids]
    _run(context, stack, target, deadline, as_json, lambda _platform: _subjects("user", checked))


@erase.command()
def image(
    context: typer.Context,
    ids: Ids,
    deadline: DeadlineOption = 120.0,
    as_json: JsonOption = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Erase images with all that is about them; their uploaders stay."""
    checked = [_checked(each) for each in ids]
    _run(context, stack, target, deadline, as_json, lambda _platform: _subjects("image", checked))


@erase.command()
def ineligible(
    context: typer.Context,
    deadline: DeadlineOption = 120.0,
    as_json: JsonOption = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Erase all persons who may be minors, and all test accounts (rule 10 of docs/rules.md, as of today)."""
    _run(context, stack, target, deadline, as_json, _ineligible)


@erase.command()
def resume(
    context: typer.Context,
    deadline: DeadlineOption = 120.0,
    as_json: JsonOption = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Complete the erasures that were interrupted. The other subcommands do so, too."""
    _run(context, stack, target, deadline, as_json, lambda _platform: [])


def _run(
    context: typer.Context,
    stack: str | None,
    target: Target,
    deadline: float,
    as_json: bool,
    subjects: "Callable[[Platform], list[Subject]]",
) -> None:
    running_environment(context, stack, target)
    from gourmetgram_tools.cli.output import print_json
    from gourmetgram_tools.erasure.erasing import erase as perform

    platform = selected_platform(context, stack, target)
    with errors.status("Erasing") as status:
        chosen = subjects(platform)
        result = perform(platform, chosen, deadline_s=deadline, report=lambda step: status.update(f"Erasing: {step}"))
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _subjects(kind: "SubjectType", ids: list[str]) -> "list[Subject]":
    from gourmetgram_tools.erasure.rows import Subject

    return [Subject(kind, each) for each in ids]


def _ineligible(platform: "Platform") -> "list[Subject]":
    from gourmetgram.database.engines import create_worker_engine
    from gourmetgram_tools.erasure.rows import ErasureRecord

    engine = create_worker_engine(platform.postgres, "gourmetgram-erasure")
    try:
        return _subjects("user", ErasureRecord(engine).ineligible())
    finally:
        engine.dispose()


def _checked(text: str) -> str:
    found = parse_uuid(text.strip())
    if found is None:
        raise PermanentError(f"'{text}' is no id: give the whole UUID, as `gourmetgram trace` or Adminer shows it.")
    return found


def _print(result: "ErasureResult") -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if not result.erasures:
        say("There is nothing to erase.")
        return
    say(
        f"Erased: {result.users} persons, {result.images} images, {result.rows} comments and flags. "
        "A search of every store found no remains."
    )
    say(f"Kafka: {result.records:,} records deleted, those of others before them included.")
    for name, rows in result.tables.items():
        changes = f"{rows.removed:,} rows removed, {rows.blanked:,} without ids"
        say(f"{name}: {changes}, {rows.deleted_files:,} files deleted.")
        if rows.tags:
            say(f"  Tags removed with their snapshots: {', '.join(rows.tags)}.")
    for model in result.models:
        say(f"Learned from erased rows: {model}. Train and publish anew to replace it.")
