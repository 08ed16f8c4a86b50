"""Memory of the audit's reading: the same for a short history and a long one."""

import json
import tracemalloc
import uuid
from collections.abc import Callable, Iterator

import pytest

from gourmetgram.events import Record
from gourmetgram_tools.inspection import tables as tables_module
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


def peak_bytes(work: Callable[[StoreTables], None]) -> int:
    """Peak of Python's own objects during some work on empty tables."""
    with open_tables() as tables:
        tracemalloc.start()
        try:
            work(tables)
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
    short, long = (peak_bytes(lambda tables, count=count: load(tables, count)) for count in (SHORT, LONG))
    assert long < 1.25 * short
