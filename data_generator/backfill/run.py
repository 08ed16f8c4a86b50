"""The backfill mode: make a history, and write it with progress."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import SQLAlchemyError

from data_generator.backfill.history import BackfillHistory, BackfillPlan, latest_end
from data_generator.backfill.pictures import NUMBER, store_pictures
from data_generator.backfill.store import STATEMENT_TIMEOUT_MS, HistoryStore, Steps
from data_generator.backfill.truth import write_truth
from data_generator.settings import GeneratorSettings
from gourmetgram.database.engines import create_worker_engine
from gourmetgram.database.outbox import topics_by_kind
from gourmetgram.errors import PlatformError
from gourmetgram.settings import KafkaSettings, ObjectStoreSettings, PostgresSettings

SUCCESS: Final = 0
FAILURE: Final = 1

log = logging.getLogger(__name__)


def run_backfill(settings: GeneratorSettings) -> int:
    """Write the backfill that the settings describe; a second run with the same seed changes nothing.

    Returns:
        the exit code: 1 when the history was neither written nor in the database before.
    """
    engine = create_worker_engine(
        PostgresSettings.load(), "backfill", statement_timeout_ms=STATEMENT_TIMEOUT_MS, lock_timeout_ms=60_000
    )
    try:
        _write(settings, HistoryStore(engine, topics_by_kind(KafkaSettings.load()), settings.generator_tos_version))
    except KeyboardInterrupt:
        log.warning("Stopped before the end: nothing was written to the database")
        return FAILURE
    except PlatformError as error:
        log.error("%s", error)
        return FAILURE
    except SQLAlchemyError as error:
        log.error("PostgreSQL did not take the history, so nothing was written: %s", getattr(error, "orig", error))
        return FAILURE
    finally:
        engine.dispose()
    return SUCCESS


def _write(settings: GeneratorSettings, store: HistoryStore) -> None:
    plan = _plan(settings)
    log.info(
        "Making a history of %d days until %s: %d images, %d events, seed %d",
        *(plan.days, plan.end.isoformat(), plan.images, plan.events, plan.seed),
    )
    history = BackfillHistory(plan)
    if store.holds(history):
        log.info("It is in the database already; another GENERATOR_BACKFILL_SEED makes another one beside it")
        return
    write_truth(history, settings.generator_backfill_truth_path)
    with _bars() as progress:
        pictures = progress.add_task("pictures", total=NUMBER)
        stored = store_pictures(ObjectStoreSettings.load(), lambda: progress.advance(pictures))
        made, written = (progress.add_task(name, total=plan.events) for name in ("history", "rows and events"))
        store.write(history, stored, Steps(_advance(progress, made), _advance(progress, written)))
    log.info(
        "Backfill complete: %d users, %d images, %d events; ground truth in %s; api_v2 publishes the events",
        *(len(history.users), len(history.images), plan.events, settings.generator_backfill_truth_path),
    )


def _plan(settings: GeneratorSettings) -> BackfillPlan:
    return BackfillPlan(
        seed=settings.generator_backfill_seed,
        end=latest_end(datetime.now(UTC)),
        days=settings.generator_backfill_days,
        images=settings.generator_backfill_images,
        events=settings.generator_backfill_events,
        test_account_rate=settings.generator_test_account_rate,
    )


@contextmanager
def _bars() -> Iterator[Progress]:
    """Progress bars on a terminal; elsewhere a line for each tenth (see `_advance`)."""
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        yield progress


class _advance:  # noqa: N801 - called like a function
    """Advances a progress bar; without a terminal it logs each tenth instead."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._logged = progress, task, 0

    def __call__(self, number: int) -> None:
        self._progress.advance(self._task, number)
        task = self._progress.tasks[self._task]
        tenths = int(10 * task.completed // task.total) if task.total else 10
        if self._progress.disable and tenths > self._logged:
            self._logged = tenths
            log.info("%s: %d %%", task.description, 10 * tenths)
