"""`gourmetgram outbox`: the events that the relay has published lately."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from gourmetgram.errors import PermanentError
from gourmetgram_tools.cli.console import console
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption

outbox = typer.Typer(help="Outbox: publish events again.", no_args_is_help=True)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


@outbox.command()
def replay(
    context: typer.Context,
    since: Annotated[
        str, typer.Option(help="A time (ISO 8601, UTC without an offset), or an age such as 90s, 10m, 1h.")
    ],
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Publish the events again that were published since a time, after a loss in the broker.

    Readers recognise an event that they have by its event_id, and count it once. The outbox keeps an event for an hour
    after its publication (OUTBOX_RETENTION_S).
    """
    from sqlalchemy import text

    from gourmetgram.database.engines import create_worker_engine
    from gourmetgram.database.outbox import REPLAY
    from gourmetgram.settings import PostgresSettings

    moment = since_time(since, datetime.now(UTC))
    settings = PostgresSettings(database_url=running_environment(context, stack, target, ("postgres",))["DATABASE_URL"])
    engine = create_worker_engine(settings, "gourmetgram-outbox", statement_timeout_ms=120_000)
    try:
        with engine.begin() as connection:
            again = connection.execute(text(REPLAY), {"since": moment}).rowcount
    finally:
        engine.dispose()
    console.print(
        f"{again:,} events that were published since {moment:%Y-%m-%d %H:%M:%S} UTC wait to be published again.",
        highlight=False,
        soft_wrap=True,
    )


def since_time(text: str, now: datetime) -> datetime:
    """The time that a text names: an ISO 8601 time, or an age with a unit s, m or h.

    Raises:
        PermanentError: the text is neither, or the time is in the future.
    """
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isdecimal():
            moment = now - timedelta(**{_UNITS[unit]: int(number)})
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise PermanentError(f"'{text}' is neither a time (2026-01-31T12:00:00) nor an age (90s, 10m, 1h).") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise PermanentError(f"{moment.isoformat()} is in the future.")
    return moment
