"""Stores' tables from a few records written by hand, for tests of the audit's checks without servers."""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gourmetgram.events import Record
from gourmetgram.windows import TriggerSettings
from gourmetgram_tools.inspection.checks import Check, run_checks
from gourmetgram_tools.inspection.derived import derive
from gourmetgram_tools.inspection.kafka_reading import Keyed, partition_of
from gourmetgram_tools.inspection.kafka_records import load_events, load_requests
from gourmetgram_tools.inspection.lakehouse import LakeReading
from gourmetgram_tools.inspection.tables import StoreTables, open_tables

T0_US = 1_800_000_000_000_000
"""2027-01-15T08:00:00Z."""

IMAGE = "11111111-1111-4111-8111-111111111111"
HOME = partition_of(IMAGE, 4)
"""The partition of the image among four."""

KINDS = ("view", "comment", "flag", "upload")


def keyed(
    offset: int = 0,
    *,
    kind: str = "view",
    seconds: float = 0,
    topic: str | None = None,
    partition: int | None = None,
    key: str | None = "image",
    delay_us: int = 10_000,
    **fields: Any,
) -> Keyed:
    """A record about IMAGE, `seconds` after T0; a field that is None is left out of the message."""
    time_us = T0_US + round(seconds * 1_000_000)
    message = {
        "event_type": kind,
        "event_id": str(uuid.UUID(int=offset + 1000 * KINDS.index(kind) + 1, version=4)),
        "image_id": IMAGE,
        "timestamp": time_us / 1_000_000,
        **fields,
    }
    home = partition_of(message["image_id"], 4) if partition is None else partition
    value = json.dumps({name: field for name, field in message.items() if field is not None}).encode()
    written = message["image_id"] if key == "image" else key
    place = Record(topic or f"{kind}s", home, offset, time_us + delay_us, value)
    return Keyed(written.encode() if written else None, place)


@contextmanager
def hand_made_stores(
    events: Iterable[Keyed] = (),
    requests: Iterable[Keyed] = (),
    *,
    now_us: int = T0_US,
    fill: dict[str, list[tuple[Any, ...]]] | None = None,
    spans: Iterable[tuple[str, int, int, int]] | None = None,
) -> Iterator[StoreTables]:
    """Tables of these records and of the rows in `fill`, with everything that follows from them.

    Args:
        events: records of the event topics, each with four partitions.
        requests: records of the moderation topic, which is called `requests`.
        now_us: when the audit began.
        fill: rows of other tables, by name.
        spans: topic, partition, first offset and end of each partition; None = everything that could be.
    """
    with open_tables() as tables:
        tables.define(strict=False, consumer_group="consumer", moderation_topic="requests")
        everything = [(f"{kind}s", partition, 0, 1000) for kind in KINDS for partition in range(4)]
        tables.load("spans", everything if spans is None else spans)
        load_events(tables, events, 4)
        load_requests(tables, requests)
        for table, rows in (fill or {}).items():
            tables.load(table, rows)
        derive(tables, TriggerSettings(), now_us)
        yield tables


def checked(tables: StoreTables, name: str) -> Check:
    """The result of one check."""
    lake = LakeReading({}, has_events=True, has_training=False)
    return next(check for check in run_checks(tables, lake) if check.name == name)
