"""The aggregation as a state machine on a real broker, database and lake: crashes and other runs at each of its steps.

Events are written into the outbox and relayed as by the API, so that the watermark can be compared with them.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import psycopg2
import pytest
from confluent_kafka import KafkaError, Message, TopicPartition
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError

from gourmetgram.errors import PermanentError, PlatformError, TransientError
from gourmetgram.events import EventKind
from gourmetgram.kafka.partitions import Partition
from gourmetgram.lakehouse import file_io
from gourmetgram.lakehouse.checkpoint import checkpoint_document
from gourmetgram.lakehouse.file_io import LakeFileIO
from gourmetgram.lakehouse.gaps import accept_gap
from gourmetgram.lakehouse.maintenance import MaintenancePolicy, maintain
from gourmetgram.lakehouse.progress import EventsProgress, complete_through, events_progress
from gourmetgram.lakehouse.schemas import ALL_TABLES, EVENTS, WINDOW_TABLES, WINDOWED_KINDS
from gourmetgram.lakehouse.windows import processed_through, write_windows
from tests.support.databases import owner_url
from tests.support.lakehouse_platform import TIME_FIELD, WINDOW, LakehousePlatform
from tests.support.machines import TIMEOUT_S, Interruption, machine_settings
from tests.support.steps import watched_steps

pytestmark = pytest.mark.servers

KINDS: Final = ("view", "comment", "upload")
IMAGES: Final = [str(uuid.UUID(int=number, version=4)) for number in range(2)]
RUN_POINTS: Final = (
    *("tables exist", "time frozen", "ranges frozen", "batch read", "files written"),
    *("commit begun", "commit done", "committed"),
)
WINDOW_POINTS: Final = (
    *("tables loaded", "windows found", "days written", "files written", "mark moved"),
    *("commit begun", "commit done", "committed"),
)
OTHERS: Final = ("lost answer", "write", "relay", "backfill", "cut", "maintain", "accept a gap")
# Files that a run is writing must stay: the grace is zero only between runs.
EAGER: Final = MaintenancePolicy(small_files_a_day=2, max_snapshots=3, keep_snapshots=1, grace=timedelta(0))
GENTLE: Final = MaintenancePolicy(small_files_a_day=2, max_snapshots=3, keep_snapshots=1)

_WRITE: Final = """
WITH event AS (SELECT clock_timestamp() AS at)
INSERT INTO event_outbox (event_id, topic, message_key, payload)
SELECT %s, %s, %s, %s::jsonb || jsonb_build_object(%s::text, at) FROM event
RETURNING (SELECT at FROM event)
"""
_RELAYED: Final = """
SELECT event_id::text, topic, message_key, payload FROM event_outbox WHERE published_at IS NULL ORDER BY sequence
"""


class _Place(NamedTuple):
    """Place of a record in the broker."""

    topic: str
    partition: int
    offset: int


class _Writer(NamedTuple):
    """An open transaction that has written events."""

    connection: Any
    events: dict[str, datetime]


class AggregationMachine(RuleBasedStateMachine):
    """The API, its relay, runs of both tasks, maintenance, retention of the broker, and faults.

    Attributes:
        log: event of each record in the broker, records that are cut off too.
        written: time of each committed event of the API, by id.
        first: first offset of each partition that a run may read.
        cut: first offset of each partition that the broker holds.
        lost: places of records in accepted gaps.
    """

    platform: LakehousePlatform
    number = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).number += 1
        self.lake = self._fresh_platform()
        self.interruption = Interruption()
        self.log: dict[_Place, dict[str, Any]] = {}
        self.written: dict[str, datetime] = {}
        self.writers: list[_Writer] = []
        self.lost: set[_Place] = set()
        self.before: EventsProgress | None = None
        self.watermark: datetime | None = None
        self.changed = True
        self.admin = self.lake.admin()
        self.first = self._ends()
        self.cut = dict(self.first)
        self._delete(self.first)
        self.database = psycopg2.connect(owner_url(self.lake.sources.postgres.database_url))
        self.database.autocommit = True
        with self.database.cursor() as cursor:
            cursor.execute("TRUNCATE event_outbox")

    def _fresh_platform(self) -> LakehousePlatform:
        """The same servers and topics with a warehouse of its own, without tables."""
        iceberg = self.platform.sources.iceberg
        fresh = iceberg.model_copy(
            update={"pyiceberg_catalog__gourmetgram__warehouse": f"{iceberg.warehouse}/{self.number}"}
        )
        lake = LakehousePlatform(self.platform.sources._replace(iceberg=fresh))
        with self.platform.catalog() as catalog:
            for namespace in catalog.list_namespaces():
                for table in catalog.list_tables(namespace):
                    catalog.drop_table(table)
        return lake

    def _ends(self) -> dict[Partition, int]:
        return {
            Partition(topic, number): end
            for topic, partitions in self.lake.end_offsets().items()
            for number, end in partitions.items()
        }

    def _delete(self, before: dict[Partition, int]) -> None:
        places = [TopicPartition(*partition, offset) for partition, offset in before.items()]
        for answer in self.admin.delete_records(places).values():
            answer.result(30)

    # --- the API and its relay ---------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS), number=st.integers(1, 3))
    def write(self, kind: str, number: int) -> None:
        """Write some events in one transaction."""
        self.begin(kind, number)
        self.end(len(self.writers) - 1, True)

    @precondition(lambda self: len(self.writers) < 2)
    @rule(kind=st.sampled_from(KINDS), number=st.integers(1, 3))
    def begin(self, kind: str, number: int) -> None:
        """Write some events, and keep the transaction open."""
        connection = psycopg2.connect(owner_url(self.lake.sources.postgres.database_url))
        events = {}
        with connection.cursor() as cursor:
            for _ in range(number):
                event = self.lake.make(kind, random.choice(IMAGES))
                field = TIME_FIELD.get(kind, "created_at")
                values = (event["event_id"], self.lake.topic(kind), event["image_id"], json.dumps(event), field)
                cursor.execute(_WRITE, values)
                (events[event["event_id"]],) = cursor.fetchone()
        self.writers.append(_Writer(connection, events))

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 1), keep=st.booleans())
    def end(self, which: int, keep: bool) -> None:
        """Commit a transaction, or roll it back."""
        writer = self.writers.pop(which % len(self.writers))
        if keep:
            writer.connection.commit()
            self.written |= writer.events
        writer.connection.close()

    @rule(marked=st.booleans())
    def relay(self, marked: bool = True) -> None:
        """Publish the events of the outbox; a relay that dies before it has marked them publishes them again."""
        with self.database.cursor() as cursor:
            cursor.execute(_RELAYED)
            rows = cursor.fetchall()
            for _event_id, topic, key, payload in rows:
                self._produce(topic, key, payload)
            self._flush()
            if marked:
                cursor.execute(
                    "UPDATE event_outbox SET published_at = now() WHERE event_id = ANY(%s::uuid[])",
                    ([row[0] for row in rows],),
                )

    @rule(kind=st.sampled_from(KINDS), number=st.integers(1, 3), ago=st.sampled_from((7, 65, 60 * 26)))
    def backfill(self, kind: str, number: int, ago: int) -> None:
        """Publish events of an earlier time, some of them twice."""
        for copies in range(number):
            event = self.lake.make(
                kind, random.choice(IMAGES), self.lake.now - timedelta(minutes=ago), actor_eligible=number != 2
            )
            for _ in range(1 + copies % 2):
                self._produce(self.lake.topic(kind), event["image_id"], event)
        self._flush()

    def _produce(self, topic: str, key: str, event: dict[str, Any]) -> None:
        def stored(error: KafkaError | None, message: Message) -> None:
            assert error is None
            place = _Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
            self.log[place] = event

        self.platform.producer.produce(topic, key=key, value=json.dumps(event).encode(), on_delivery=stored)

    def _flush(self) -> None:
        assert self.platform.producer.flush(30) == 0

    # --- the broker loses records ------------------------------------------------------------------------------------

    @precondition(lambda self: self.before is not None)
    @rule(which=st.integers(0, 9), number=st.integers(1, 2))
    def lose_records(self, which: int = 0, number: int = 1) -> None:
        """Delete unread records, as a retention that is too short does."""
        assert self.before is not None
        unread = sorted(
            place
            for place in self.log
            if place.offset >= max(self.cut[place[:2]], self.before.offsets[place.topic][place.partition])  # type: ignore[index]
        )
        if unread:
            place = unread[which % len(unread)]
            partition = Partition(place.topic, place.partition)
            self.cut[partition] = min(place.offset + number, self._ends()[partition])
            self._delete({partition: self.cut[partition]})

    @rule()
    def accept_gaps(self) -> None:
        """Accept the gap of each partition that has one."""
        for partition in self._gaps():
            assert self.before is not None
            start = self.before.offsets[partition.topic][partition.number]
            gap, _snapshot_id = accept_gap(self.lake.sources, partition)
            assert gap[2:4] == (start, self.cut[partition])
            self.lost |= {_Place(*partition, offset) for offset in range(start, self.cut[partition])}
            self._look_at_progress()

    @precondition(lambda self: self.before is not None)
    @rule(which=st.integers(0, 9))
    def accept_no_gap(self, which: int) -> None:
        """Accept a gap where there is none: that is refused."""
        sound = sorted(set(self.cut) - set(self._gaps()))
        with pytest.raises(PermanentError, match="there is no gap to accept"):
            accept_gap(self.lake.sources, sound[which % len(sound)])

    def _gaps(self) -> list[Partition]:
        self._look_at_progress()
        if self.before is None:
            return []
        offsets = self.before.offsets
        return [each for each, held in self.cut.items() if held > offsets[each.topic][each.number]]

    # --- the tasks ---------------------------------------------------------------------------------------------------

    @rule()
    def aggregate(self) -> None:
        """Run the aggregation, undisturbed: it succeeds unless records are lost."""
        self._aggregate(certain=True)

    @rule(point=st.sampled_from(RUN_POINTS))
    def aggregate_and_crash(self, point: str) -> None:
        """Kill a run at a point."""
        self.backfill("view", 2, 7)
        with self._interrupted(point):
            self._aggregate()

    @rule(point=st.sampled_from(RUN_POINTS), what=st.sampled_from(OTHERS))
    def aggregate_beside(self, point: str, what: str) -> None:
        """Run the aggregation, while something else happens at a point."""
        self.backfill("view", 2, 65)
        with self._interrupted(point, self._other(what)):
            self._aggregate()

    @rule(point=st.sampled_from(RUN_POINTS))
    def aggregate_twice(self, point: str) -> None:
        """Run the aggregation; another run overtakes this one at a point."""
        self.aggregate_beside(point, "run")

    def _aggregate(self, certain: bool = False) -> None:
        gaps = bool(self._gaps())
        self.changed = True
        try:
            self.lake.aggregate()
        except PermanentError:
            assert gaps or self._gaps()
        except TransientError:
            assert not certain
        else:
            assert not gaps or not certain

    @rule(kind=st.sampled_from(WINDOWED_KINDS))
    def windows(self, kind: EventKind) -> None:
        """Write the windows of a kind, undisturbed."""
        self._windows(kind, certain=True)

    @rule(kind=st.sampled_from(("view", "comment")), point=st.sampled_from(WINDOW_POINTS))
    def windows_and_crash(self, kind: EventKind, point: str) -> None:
        """Kill a task of the windows at a point."""
        with self._interrupted(point):
            self._windows(kind)

    @rule(
        kind=st.sampled_from(("view", "comment")),
        point=st.sampled_from(WINDOW_POINTS),
        what=st.sampled_from(OTHERS),
    )
    def windows_beside(self, kind: EventKind, point: str, what: str) -> None:
        """Write windows, while something else happens at a point."""
        with self._interrupted(point, self._other(what)):
            self._windows(kind)

    @rule(kind=st.sampled_from(("view", "comment")), point=st.sampled_from(WINDOW_POINTS))
    def windows_twice(self, kind: EventKind, point: str) -> None:
        """Write windows; another task of this kind overtakes this one at a point."""
        self.backfill(kind, 1, 7)
        self._aggregate()
        self.windows_beside(kind, point, "windows")

    def _windows(self, kind: EventKind, certain: bool = False) -> None:
        self.changed = True
        try:
            write_windows(self.lake.sources.iceberg, kind)
        except TransientError:
            assert not certain

    @precondition(lambda self: self.before is not None)
    @rule(name=st.sampled_from(ALL_TABLES))
    def maintain(self, name: str) -> None:
        """Merge files, expire snapshots, and delete what no snapshot refers to."""
        self._maintain(name, EAGER)

    def _maintain(self, name: str, policy: MaintenancePolicy) -> None:
        self.changed = True
        with self.lake.catalog() as catalog:
            maintain(catalog.load_table(name), policy, clean=True)

    @contextmanager
    def _interrupted(self, point: str, act: Callable[[], None] | None = None) -> Iterator[None]:
        with self.interruption.at(point, act), watched_steps(self.interruption.reach):
            yield

    def _other(self, what: str) -> Callable[[], None]:
        def lose_the_answer() -> None:
            raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

        def everything(task: Callable[[], Any]) -> None:
            try:
                task()
            except PlatformError:
                assert self._gaps()

        actions: dict[str, Callable[[], None]] = {
            "lost answer": lose_the_answer,
            "run": partial(everything, self.lake.aggregate),
            "windows": partial(everything, self.lake.write_windows),
            "write": partial(self.write, "view", 2),
            "relay": self.relay,
            "backfill": partial(self.backfill, "comment", 2, 7),
            "cut": self.lose_records if self.before else partial(self.write, "comment", 1),
            "maintain": self._maintain_all,
            "accept a gap": self.accept_gaps,
        }
        return actions[what]

    def _maintain_all(self) -> None:
        if self.before:
            for name in ALL_TABLES:
                self._maintain(name, GENTLE)

    # --- promises ----------------------------------------------------------------------------------------------------

    def _look_at_progress(self) -> EventsProgress | None:
        """Compare the progress with the one before: nothing of it goes back."""
        with self.lake.catalog() as catalog:
            if not catalog.table_exists(EVENTS):
                return None
            table = catalog.load_table(EVENTS)
        return self._compare(table)

    def _compare(self, table: Table) -> EventsProgress | None:
        progress, before, watermark = events_progress(table), self.before, complete_through(table)
        if before is not None:
            assert progress is not None
            assert watermark is not None
            assert progress.ingested_at >= before.ingested_at
            assert self.watermark is None or watermark >= self.watermark
            for topic, partitions in before.offsets.items():
                assert all(progress.offsets[topic][number] >= offset for number, offset in partitions.items())
        self.before, self.watermark = progress, watermark
        return progress

    @invariant()
    def every_event_is_there_once_and_none_is_missing_below_the_watermark(self) -> None:
        """The tables hold the records up to the offsets, each once; windows equal a recount up to their mark."""
        if not self.changed:
            return
        self.changed = False
        # Files must be in the bucket, not only in this process.
        file_io._kept.clear()
        with self.lake.catalog() as catalog:
            if not catalog.table_exists(EVENTS):
                return
            table = catalog.load_table(EVENTS)
            progress = self._compare(table)
            rows = table.scan().to_arrow().to_pylist()
            self._compare_rows(rows, progress)
            for kind, name in WINDOW_TABLES.items():
                self._compare_windows(kind, catalog.load_table(name), rows)

    def _compare_rows(self, rows: list[dict[str, Any]], progress: EventsProgress | None) -> None:
        found = {_Place(row["topic"], row["partition"], row["offset"]): row["event_id"] for row in rows}
        assert len(found) == len(rows)
        offsets = progress.offsets if progress else {}
        expected = {
            place: event["event_id"]
            for place, event in self.log.items()
            if place.offset < offsets.get(place.topic, {}).get(place.partition, 0) and place not in self.lost
        }
        assert found == expected
        ids = set(found.values()) | {self.log[place]["event_id"] for place in self.lost}
        assert {id_ for id_, at in self.written.items() if self.watermark and at <= self.watermark} <= ids

    def _compare_windows(self, kind: EventKind, table: Table, rows: list[dict[str, Any]]) -> None:
        mark = processed_through(table)
        counted = {
            row["event_id"]: row for row in rows if row["event_type"] == kind and mark and row["ingested_at"] <= mark
        }
        expected: Counter[tuple[str, datetime]] = Counter()
        for row in counted.values():
            at = row["event_time"]
            day = at.replace(hour=0, minute=0, second=0, microsecond=0)
            expected[(row["image_id"], day + (at - day) // WINDOW * WINDOW)] += 1
        windows = table.scan().to_arrow().to_pylist()
        assert {(each["image_id"], each["window_start"]): each["event_count"] for each in windows} == dict(expected)
        assert len(windows) == len(expected)

    def teardown(self) -> None:
        """Let everything recover: all events are there and counted, and a further run changes no window."""
        try:
            while self.writers:
                self.end(0, True)
            self.relay()
            self.accept_gaps()
            self.lake.run()
            self.changed = True
            self.every_event_is_there_once_and_none_is_missing_below_the_watermark()
            assert self.before is not None
            assert self.before.offsets == self.lake.end_offsets()
            assert self.written.keys() <= {event["event_id"] for event in self.log.values()}
            snapshots = self.lake.snapshot_ids()
            assert self.lake.run().records == 0
            again = self.lake.snapshot_ids()
            assert {name for name in again if again[name] != snapshots[name]} == {EVENTS}
            document = checkpoint_document(self.lake.sources.iceberg)
            assert {t: {int(p): o for p, o in each.items()} for t, each in document["offsets"].items()} == (
                self.before.offsets
            )
        finally:
            for writer in self.writers:
                writer.connection.close()
            self.database.close()


def _through(interruption: Callable[[], Interruption], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A method that tells the interruption before and after its work."""

    def method(*arguments: Any, **options: Any) -> Any:
        interruption().reach(f"{name} begun")
        answer = call(*arguments, **options)
        interruption().reach(f"{name} done")
        return answer

    return method


@pytest.mark.timeout(TIMEOUT_S)
def test_no_order_of_runs_crashes_and_losses_counts_an_event_twice_or_passes_a_missing_one(
    lakehouse: LakehousePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = [Interruption()]

    class Machine(AggregationMachine):
        platform = lakehouse

        def __init__(self) -> None:
            super().__init__()
            current[0] = self.interruption

    def interruption() -> Interruption:
        return current[0]

    monkeypatch.setattr(SqlCatalog, "commit_table", _through(interruption, "commit", SqlCatalog.commit_table))
    # A dead process deletes nothing.
    monkeypatch.setattr(LakeFileIO, "delete", _through(interruption, "deletion", LakeFileIO.delete))
    run_state_machine_as_test(Machine, settings=machine_settings(examples=6, steps=10))
