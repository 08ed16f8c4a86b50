"""`gourmetgram migrate`: bring the application's tables up to date."""

from typing import Annotated

import typer

from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 unless the schema is up to date.")
    ] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Bring PostgreSQL's schema to the revision that this code needs; `up` and the Compose job `migrate` do it too."""
    from gourmetgram.database.migrate import current_revision
    from gourmetgram.database.migrate import migrate as bring_up_to_date
    from gourmetgram.database.revision import REVISION, name_of
    from gourmetgram.settings import PostgresSettings
    from gourmetgram_tools.cli.console import console

    settings = PostgresSettings(database_url=running_environment(context, stack, target, ("postgres",))["DATABASE_URL"])
    if not check:
        console.print(str(bring_up_to_date(settings)), highlight=False, soft_wrap=True)
        return
    revision = current_revision(settings)
    console.print(
        f"The database schema is at {name_of(revision)}, this code is at {name_of(REVISION)}.",
        highlight=False,
        soft_wrap=True,
    )
    if revision != REVISION:
        raise typer.Exit(1)
