"""`gourmetgram backup` and `gourmetgram restore`: all stores in one folder, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gourmetgram.errors import PermanentError
from gourmetgram_tools.cli.console import ConsoleProgress, console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption, selected_platform

if TYPE_CHECKING:
    from gourmetgram_tools.backup.folder import BackupManifest

_SHOWN = 5

BackupArgument = Annotated[Path, typer.Argument(help="Folder of the backup.", show_default=False)]


def backup(
    context: typer.Context,
    folder: BackupArgument,
    verify: Annotated[
        bool, typer.Option("--verify", help="Make no backup: check that a finished one is complete and undamaged.")
    ] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Copy all stores to a new folder, of one consistent point, while the platform works.

    Each write that was acknowledged before the point is in the backup. Without its last file, manifest.json, a folder
    is no backup.
    """
    if verify:
        from gourmetgram_tools.backup.folder import BackupFolder

        with ConsoleProgress().step("Checking the backup") as report:
            manifest = BackupFolder(folder).verify(report)
        _print(f"The backup {folder} is complete and undamaged: {_describe(manifest)}")
        return
    running_environment(context, stack, target)
    platform = selected_platform(context, stack, target)
    from gourmetgram_tools.backup.making import make_backup

    with _named_disk_errors(folder):
        manifest = make_backup(platform, folder, ConsoleProgress())
    _print(f"The backup {folder} is complete: {_describe(manifest)}")
    if missing := manifest.missing_pictures:
        names = ", ".join(missing[:_SHOWN])
        errors.print(
            f"The object store does not have {len(missing):,} pictures that the images name, so they are not in the "
            f"backup: {names}{', ...' if len(missing) > _SHOWN else ''}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def restore(
    context: typer.Context,
    folder: BackupArgument,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Fill empty stores from a backup; no service may run. A store that is not empty is refused, and named.

    Start with empty stores: `gourmetgram down --wipe`, `gourmetgram up --servers-only`. Afterwards: `gourmetgram up`.
    """
    running_environment(context, stack, target)
    platform = selected_platform(context, stack, target)
    from gourmetgram_tools.backup.restoring import restore_backup

    manifest = restore_backup(platform, folder, ConsoleProgress())
    _print(f"All stores are as in the backup {folder}: {_describe(manifest)} Start the services now.")


def _describe(manifest: "BackupManifest") -> str:
    return (
        f"{manifest.records:,} records, {manifest.keys:,} keys and {manifest.objects:,} objects, "
        f"{manifest.size / 1e6:,.1f} MB. Each write that was acknowledged before {manifest.point} is in it."
    )


def _print(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _named_disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PermanentError(
            f"The backup {folder} could not be written: {error}. Delete it, and use another disk."
        ) from error
