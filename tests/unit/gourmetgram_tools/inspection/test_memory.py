"""Memory of the audit: reading takes the same for a short history and a long one, and queries use the disk."""

import json
import tracemalloc
import uuid
from collections.abc import Callable, Iterator

import pytest

from gourmetgram.events import Record
from gourmetgram_tools.inspection import tables as tables_module
from gourmetgram_tools.inspection.checks.lakehouse_checks import LAKEHOUSE_CHECKS
from gourmetgram_tools.inspection.kafka_reading import Keyed
from gourmetgram_tools.inspection.kafka_records import load_events, load_requests
from gourmetgram_tools.inspection.tables import StoreTables, open_tables

BATCH = 500
SHORT, LONG = 3_000, 30_000


def uploads(count: int) -> Iterator[Keyed]:
    """Uploads, each of an image of its own, and bad records between them."""
    for number in range(count):
        ids = {name: str(uuid.UUID(int=number + 1, version=4)) for name in ("event_id", "image_id")}
        message = json.dumps({"event_type": "upload", **ids, "timestamp": 1_800_000_000}).encode()
        yield Keyed(None, Record("uploads", 0, number, 1_800_000_000_000_000, message if number % 4 else b"[]"))


def requests(count: int) -> Iterator[Keyed]:
    """Requests, and bad records between them."""
    for number in range(count):
        ids = {name: str(uuid.UUID(int=number + 1, version=4)) for name in ("request_id", "image_id")}
        message = json.dumps({**ids, "trigger": "viral", "timestamp": 1_800_000_000, "context": {}}).encode()
        yield Keyed(None, Record("requests", 0, number, 1_800_000_000_000_000, message if number % 4 else b"[]"))


def peak_bytes(load: Callable[[StoreTables, int], None], count: int) -> int:
    """Peak of Python's own objects while so many records are loaded into empty tables."""
    with open_tables() as tables:
        tracemalloc.start()
        try:
            load(tables, count)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "load",
    [
        lambda tables, count: load_events(tables, uploads(count), 4),
        lambda tables, count: load_requests(tables, requests(count)),
    ],
    ids=["events", "requests"],
)
def test_ten_times_the_records_take_no_more_memory(
    load: Callable[[StoreTables, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_module, "_BATCH", BATCH)
    short, long = (peak_bytes(load, count) for count in (SHORT, LONG))
    assert long < 1.25 * short


MANY = """
CREATE VIEW due AS FROM records;
INSERT INTO records
SELECT 'views', n % 4, n, n, n, CASE WHEN n % 5 != 0 THEN 'view' WHEN n % 10 = 0 THEN 'flag' ELSE 'comment' END,
       md5('event' || n)::UUID, md5('image' || n % 9999)::UUID, CASE WHEN n % 5 = 0 THEN md5('row' || n)::UUID END,
       true, false, true, true
FROM range(500000) AS numbers(n);
INSERT INTO lake_events
SELECT topic, partition, "offset", time_us, kind, event_id, image_id, row_id, eligible FROM records;
INSERT INTO spans SELECT 'views', partition, 0, 500000 FROM range(4) AS numbers(partition);
INSERT INTO lake_offsets SELECT topic, partition, last_end FROM spans;
"""
"""Half a million records that agree with the lake."""


def test_the_comparison_of_records_with_the_lake_goes_on_the_disk() -> None:
    (check,) = (query for query in LAKEHOUSE_CHECKS if query.name == "iceberg events")
    with open_tables("1GB") as tables:
        for statement in MANY.split(";\n"):
            tables.run(statement)
        tables.run("SET memory_limit = '64MB'")
        result = check.run(tables)
    assert (result.expected, result.actual, result.differences) == (500_000, 500_000, ())
