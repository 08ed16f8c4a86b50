"""Progress of the tables, as their snapshots record it.

The summary of each snapshot of `events` holds the next offset of every partition, the run's id, the watermark
`complete_through`, and the run's `ingested_at`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Self, TypeAlias

import orjson
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.continuity import Fingerprints
from gourmetgram.moments import parse_utc, utc_text

PREFIX: Final = "gourmetgram."
OFFSETS: Final = "gourmetgram.offsets"
RUN_ID: Final = "gourmetgram.run_id"
COMPLETE_THROUGH: Final = "gourmetgram.complete_through"
INGESTED_AT: Final = "gourmetgram.ingested_at"
TOPIC_IDS: Final = "gourmetgram.topic_ids"
LAST_RECORDS: Final = "gourmetgram.last_records"
GAPS: Final = "gourmetgram.gaps"

Offsets: TypeAlias = dict[str, dict[int, int]]
"""Topic -> partition -> next offset to read."""


class Gap(NamedTuple):
    """Offsets of a partition that were lost and accepted as lost.

    Attributes:
        start: next offset before the acceptance.
        end: next offset after it. At or below `start` when the broker lost the end of its log: then records that took
            offsets below `start` were not read.
        accepted_at: ISO-8601, UTC.
    """

    topic: str
    partition: int
    start: int
    end: int
    accepted_at: str


class EventsProgress(NamedTuple):
    """Progress that a snapshot of `events` records.

    Attributes:
        offsets: next offset to read of each partition.
        topic_ids: the broker's id of each topic, if it has one: a topic created again has another id.
        run_id: id of the aggregation run.
        complete_through: watermark: all events up to this time are in the table, except backfilled ones.
        ingested_at: `ingested_at` of the newest run's records.
        last_records: fingerprint of the record before each next offset, as far as known; see `continuity`.
        gaps: accepted gaps, earliest first.
    """

    offsets: Offsets
    topic_ids: dict[str, str]
    run_id: str
    complete_through: datetime
    ingested_at: datetime
    last_records: Fingerprints
    gaps: tuple[Gap, ...]

    def summary(self) -> dict[str, str]:
        """Properties of a snapshot."""
        return {
            OFFSETS: offsets_to_json(self.offsets),
            TOPIC_IDS: orjson.dumps(self.topic_ids, option=orjson.OPT_SORT_KEYS).decode(),
            RUN_ID: self.run_id,
            COMPLETE_THROUGH: utc_text(self.complete_through),
            INGESTED_AT: utc_text(self.ingested_at),
            LAST_RECORDS: offsets_to_json(self.last_records),
            GAPS: orjson.dumps([gap._asdict() for gap in self.gaps]).decode(),
        }

    @classmethod
    def from_summary(cls, summary: Mapping[str, str]) -> Self:
        """Parse the properties that `summary` wrote."""
        return cls(
            offsets=offsets_from_json(summary[OFFSETS]),
            topic_ids=orjson.loads(summary.get(TOPIC_IDS, "{}")),
            run_id=summary[RUN_ID],
            complete_through=parse_utc(summary[COMPLETE_THROUGH]),
            ingested_at=parse_utc(summary[INGESTED_AT]),
            last_records=offsets_from_json(summary.get(LAST_RECORDS, "{}")),
            gaps=tuple(Gap(**gap) for gap in orjson.loads(summary.get(GAPS, "[]"))),
        )


def events_progress(table: Table) -> EventsProgress | None:
    """Progress of `events`, from its newest snapshot with offsets; None before the first run.

    Raises:
        PermanentError: the table has records, but no snapshot holds their offsets.
    """
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        summary = summary_of(snapshot)
        if OFFSETS in summary:
            return EventsProgress.from_summary(summary)
    current = table.current_snapshot()
    if current is not None and summary_of(current).get("total-records", "0") != "0":
        raise PermanentError(
            f"{'.'.join(table.name())} has records, but none of its snapshots carries {OFFSETS}: some other program "
            "rewrote it and expired the snapshots of the aggregation. Drop the tables of event_aggregations; the next "
            "run rebuilds them from what the broker still holds."
        )
    return None


def complete_through(table: Table) -> datetime | None:
    """Watermark of `events`: time through which its history is complete; None before the first run.

    Raises:
        PermanentError: see `events_progress`.
    """
    progress = events_progress(table)
    # Both come from the same version of the table's metadata; a run without new events may move only the property.
    known = [] if progress is None else [progress.complete_through]
    if COMPLETE_THROUGH in table.properties:
        known.append(parse_utc(table.properties[COMPLETE_THROUGH]))
    return max(known, default=None)


def summary_of(snapshot: Snapshot | None) -> dict[str, str]:
    """The properties of a snapshot's summary; empty for None."""
    if snapshot is None or snapshot.summary is None:
        return {}
    return snapshot.summary.additional_properties


def own_properties(summary: Mapping[str, str]) -> dict[str, str]:
    """The platform's own properties of a summary, which a commit without new content carries forward."""
    return {key: value for key, value in summary.items() if key.startswith(PREFIX)}


def offsets_to_json(offsets: Offsets | Fingerprints) -> str:
    """`{"<topic>":{"<partition>":<next offset or fingerprint>}}`, sorted."""
    return orjson.dumps(offsets, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode()


def offsets_from_json(text: str) -> dict[str, dict[int, Any]]:
    """Parse the output of `offsets_to_json`."""
    document: dict[str, dict[str, Any]] = orjson.loads(text)
    return {topic: {int(p): value for p, value in parts.items()} for topic, parts in document.items()}
