"""`gourmetgram adopt`: the right owner of pictures or tables, after a restore."""

from enum import StrEnum
from typing import Annotated

import typer

from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption


class Owned(StrEnum):
    """Things that have an owner."""

    PICTURES = "pictures"
    TABLES = "tables"


def adopt(
    context: typer.Context,
    what: Annotated[Owned, typer.Argument(help="The bucket of pictures, or the folders of the Iceberg tables.")],
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Make this platform's database the owner of the pictures, or its catalog the owner of the tables' folders.

    Needed after a database or catalog was restored to an earlier state, or tables were dropped. Until then, no orphan
    picture and no unreferenced file is removed. `gourmetgram audit` shows the places that belong to another owner.
    """
    variables = running_environment(context, stack, target, ("postgres", "minio"))
    if what is Owned.PICTURES:
        _adopt_pictures(variables)
    else:
        _adopt_tables(variables)


def _adopt_pictures(variables: dict[str, str]) -> None:
    from gourmetgram.database.engines import create_worker_engine
    from gourmetgram.settings import ObjectStoreSettings, PostgresSettings
    from gourmetgram_tools.inspection.owners import adopt_pictures

    objects = ObjectStoreSettings.load(variables)
    engine = create_worker_engine(PostgresSettings.load(variables), "gourmetgram-adopt")
    try:
        mark = adopt_pictures(engine, objects)
    finally:
        engine.dispose()
    _say(
        f"The bucket {objects.s3_bucket_name} belongs to database {mark.installation}. The API removes pictures "
        "without a row again, if they are at most 200."
    )


def _adopt_tables(variables: dict[str, str]) -> None:
    from gourmetgram.settings import IcebergSettings
    from gourmetgram_tools.inspection.owners import adopt_tables

    with errors.status("Comparing folders and tables"):
        adopted = adopt_tables(IcebergSettings.load(variables))
    for folder in adopted:
        _say(f"{folder.table} owns its folder. Unreferenced files, which may leave the bucket: {folder.unreferenced}")
    if not adopted:
        _say("The catalog has no table yet: there is nothing to adopt.")


def _say(sentence: str) -> None:
    console.print(sentence, highlight=False, soft_wrap=True)
