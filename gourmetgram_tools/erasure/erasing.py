"""The steps of an erasure, in an order in which nothing comes back.

1. Record the erasure, and delete the images for the API and the scorer.
2. Wait until every event about them has passed outbox and stream consumer.
3. Remove the Redis keys, and wait until the scorer has answered the last request.
4. Name the models, and remove pictures and rows. From here on the API refuses whatever the person does.
5. Wait again for outbox and readers: events that the person wrote meanwhile. Aggregate all events.
6. Remove Redis keys again, erase the tables, and delete the records in Kafka.
7. Search every store. Only an erasure without remains is complete.

Each step may be repeated, and a second run begins with the first step.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Engine, text
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import RecordsGoneError
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.erasure import ErasedIds, ErasedRows
from gourmetgram.lakehouse.outages import ChangedMeanwhileError
from gourmetgram.waiting import wait_for
from gourmetgram_tools.erasure import lake, pictures, records, redis_keys
from gourmetgram_tools.erasure.models import PERHAPS, models_trained_with
from gourmetgram_tools.erasure.rows import ErasureRecord, Subject, named_database_errors
from gourmetgram_tools.inspection.platform import Platform

DEADLINE_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.5
_ATTEMPTS: Final = 5

Report = Callable[[str], None]


@dataclass(frozen=True)
class ErasureResult:
    """Result of a run.

    Attributes:
        erasures: completed erasures.
        users: erased persons.
        images: erased images.
        rows: erased comments and flags.
        records: deleted records in Kafka; those of others before them are among them.
        tables: rows and files by Iceberg table.
        models: models that learned from erased rows.
    """

    erasures: int
    users: int
    images: int
    rows: int
    records: int
    tables: Mapping[str, ErasedRows]
    models: Collection[str]

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return {**asdict(self), "tables": {name: rows._asdict() for name, rows in self.tables.items()}}


def erase(
    platform: Platform,
    subjects: Collection[Subject],
    *,
    deadline_s: float = DEADLINE_S,
    report: Report = lambda _text: None,
) -> ErasureResult:
    """Erase persons and images from every store, together with erasures that were interrupted.

    Args:
        platform: addresses of the stores.
        subjects: persons and images; none = only the interrupted erasures.
        deadline_s: longest wait for a service, seconds.
        report: receives the current step, for display.

    Raises:
        TransientError: a server or service is away or too slow, or a remain was found: run again.
        PermanentError: the aggregation refuses to read the events; the text names the remedy.
    """
    engine = create_worker_engine(platform.postgres, "gourmetgram-erasure", statement_timeout_ms=120_000)
    try:
        record = ErasureRecord(engine)
        record.open(subjects)
        return _Erasure(platform, engine, record, deadline_s, report).perform()
    finally:
        engine.dispose()


class _Erasure:
    """One run over all open erasures."""

    def __init__(
        self, platform: Platform, engine: Engine, record: ErasureRecord, deadline_s: float, report: Report
    ) -> None:
        self._platform = platform
        self._engine = engine
        self._record = record
        self._deadline_s = deadline_s
        self._report = report

    def perform(self) -> ErasureResult:
        platform, record = self._platform, self._record
        ids = record.close_images()
        if not ids.all:
            return ErasureResult(0, 0, 0, 0, 0, {}, ())
        self._let_events_pass(ids)
        self._report("removing keys from Redis")
        redis_keys.remove_keys(platform.redis, ids)
        self._wait_for_scorer()
        self._report("looking for models")
        self._note_models(ids)
        self._report("removing pictures and rows")
        pictures.remove_pictures(platform.objects, ids, self._addresses(ids))
        ids = record.remove_rows()
        # The person may have uploaded an image since the first step.
        pictures.remove_pictures(platform.objects, ids, [])
        self._let_events_pass(ids)
        record.remove_events(ids)
        self._wait_for_scorer()
        self._report("aggregating the events")
        self._aggregate()
        redis_keys.remove_keys(platform.redis, ids)
        redis_keys.rewrite_files(platform.redis)
        self._report("erasing from the Iceberg tables")
        tables = lake.erase_tables(platform.iceberg, ids)
        self._report("deleting records from Kafka")
        deleted = self._delete_records(ids)
        record.clean_pages()
        self._report("searching for remains")
        self._refuse_remains(ids)
        models = record.models()
        return ErasureResult(record.complete(), len(ids.users), len(ids.images), len(ids.rows), deleted, tables, models)

    def _addresses(self, ids: ErasedIds) -> list[str]:
        with named_database_errors(), self._engine.connect() as connection:
            statement = text("SELECT s3_url FROM images WHERE id = ANY(CAST(:images AS UUID[]))")
            return list(connection.execute(statement, {"images": sorted(ids.images)}).scalars())

    def _note_models(self, ids: ErasedIds) -> None:
        """Name the models before their snapshots go; an earlier run may have known more of them."""
        known = set(self._record.models())
        found = models_trained_with(self._platform, ids)
        self._record.note_models([name for name in found if name.removesuffix(PERHAPS) not in known])

    def _let_events_pass(self, ids: ErasedIds) -> None:
        """Wait until the events of the ids have left the outbox, and the stream consumer has read them."""
        self._report("waiting for the outbox and the stream consumer")
        self._wait(
            lambda: self._record.pending_events(ids),
            "{} of their events wait in the outbox: the API's relay does not publish them. Start api_v2",
        )
        self._wait_for_group(
            self._platform.consumer_group, self._platform.kafka.event_topics, "the stream consumer", "stream_consumer"
        )

    def _wait_for_scorer(self) -> None:
        self._report("waiting for the risk scoring service")
        self._wait_for_group(
            self._platform.scorer_group,
            (self._platform.kafka.moderation_topic,),
            "the risk scoring service",
            "risk_scoring_service",
        )

    def _wait_for_group(self, group: str, topics: Collection[str], reader: str, service: str) -> None:
        kafka = self._platform.kafka
        targets = records.ends(kafka, topics)
        self._wait(
            lambda: records.unread(kafka, group, targets), f"{reader} has not read {{}} records. Start {service}"
        )

    def _wait(self, number: Callable[[], int], sentence: str) -> None:
        """Wait until a number is 0; the sentence has a place for it."""
        wait_for(
            number,
            done=lambda answer: answer == 0,
            deadline_s=self._deadline_s,
            every_s=_LOOK_EVERY_S,
            late=lambda answer: TransientError(
                f"{sentence.format(answer)}, then run the command again: it goes on from here."
            ),
        )

    @retry(retry=retry_if_exception_type(ChangedMeanwhileError), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
    def _aggregate(self) -> None:
        lake.aggregate(Sources(self._platform.iceberg, self._platform.kafka, self._platform.postgres))

    def _delete_records(self, ids: ErasedIds) -> int:
        """Delete all records up to the last one that names an id; returns the number of deleted records."""
        kafka = self._platform.kafka
        deleted = 0
        for _ in range(_ATTEMPTS):
            found = self._last_records(ids)
            if not found:
                return deleted
            self._check_readers(found)
            deleted += records.number_of(kafka, found)
            records.delete_records(kafka, found)
        raise TransientError("new records about the erased ids arrive in Kafka: stop what writes them, then run again.")

    @retry(retry=retry_if_exception_type(RecordsGoneError), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
    def _last_records(self, ids: ErasedIds) -> dict[Partition, int]:
        return records.last_records(self._platform.kafka, ids)

    def _check_readers(self, found: Mapping[Partition, int]) -> None:
        """Refuse to delete records that a reader has yet to read."""
        platform, kafka = self._platform, self._platform.kafka
        events = {place: end for place, end in found.items() if place.topic in kafka.event_topics}
        requests = {place: end for place, end in found.items() if place.topic == kafka.moderation_topic}
        reached = lake.read_to(platform.iceberg)
        behind = [str(place) for place, end in events.items() if reached.get(place, 0) < end]
        behind += [platform.consumer_group] if events and records.unread(kafka, platform.consumer_group, events) else []
        behind += [platform.scorer_group] if requests and records.unread(kafka, platform.scorer_group, requests) else []
        if behind:
            raise TransientError(
                f"records about the erased ids arrived meanwhile and are not read yet ({', '.join(behind)}): "
                "run the command again."
            )

    def _refuse_remains(self, ids: ErasedIds) -> None:
        platform = self._platform
        found = [
            *self._record.remains(ids),
            *pictures.remaining_pictures(platform.objects, ids),
            *redis_keys.remaining_keys(platform.redis, ids),
            *(f"records of {place} below {end}" for place, end in self._last_records(ids).items()),
            *lake.remaining_in_tables(platform.iceberg, ids),
        ]
        if found:
            shown = "; ".join(found[:5])
            raise TransientError(f"{len(found)} remains were found: {shown}. Run the command again: it removes them.")
