"""Iceberg: the tables say what Kafka and PostgreSQL say, up to the offsets that `events` stands for."""

from collections.abc import Iterator, Mapping

import numpy as np

from gourmetgram.events import EventKind
from gourmetgram.lakehouse.schemas import WINDOW_TABLES
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram_tools.inspection.checks.facts import Check, Facts, check
from gourmetgram_tools.inspection.event_log import Ids, id_texts, ids_of
from gourmetgram_tools.inspection.lake_training import TrainingImage, TrainingRows
from gourmetgram_tools.inspection.lakehouse import Lakehouse


def lakehouse_checks(facts: Facts) -> list[Check]:
    """Those that the existing tables allow: none before the first aggregation."""
    lakehouse = facts.lakehouse.found
    if lakehouse is None:
        return []
    checks = [records(facts, lakehouse), windows(lakehouse), eligible_windows(lakehouse), rows(facts, lakehouse)]
    if lakehouse.training is not None:
        checks.append(training_rows(facts, lakehouse, lakehouse.training))
    return checks


def records(facts: Facts, lakehouse: Lakehouse) -> Check:
    """Every readable record below the offsets is one row of `events`, with the same content."""
    return check(
        "iceberg events",
        "events holds each readable record once",
        lakehouse.records.expected,
        lakehouse.records.rows,
        (*_offset_differences(facts, lakehouse), *lakehouse.records.differences()),
    )


def _offset_differences(facts: Facts, lakehouse: Lakehouse) -> Iterator[str]:
    for topic, partitions in sorted(lakehouse.offsets.items()):
        for partition, offset in sorted(partitions.items()):
            span = facts.event_ranges.get((topic, partition))
            name = f"{topic}/{partition}"
            if span is None:
                yield f"event_aggregations.events has read {name} up to {offset}, but Kafka has no such partition"
            elif offset > span.end:
                yield (
                    f"event_aggregations.events has read {name} up to {offset}, but it ends at {span.end}: "
                    "the topic was recreated"
                )
            elif offset < span.start:
                yield f"Kafka has removed {name}@{offset} to @{span.start - 1} before event_aggregations.events read it"


def windows(lakehouse: Lakehouse) -> Check:
    """Each event is counted in one window."""
    expected = {kind: _count(lakehouse, kind) for kind in WINDOW_TABLES}
    actual = {kind: table.total.events if table.total else 0 for kind, table in lakehouse.windows.items()}

    def differences() -> Iterator[str]:
        for kind, table in lakehouse.windows.items():
            name = WINDOW_TABLES[kind]
            if table.total is None:
                yield f"{name} does not exist"
                continue
            if not table.is_current:
                yield f"{name} is older than event_aggregations.events: task write_{kind}_windows has yet to run"
            if table.total.repeated:
                yield f"{name} has {table.total.repeated} rows beyond the first of their image and window"
        yield from _sum_differences("event_count", "distinct events", expected, actual)

    return check("iceberg windows", "sum of event_count = distinct events", *_sums(expected, actual), differences())


def eligible_windows(lakehouse: Lakehouse) -> Check:
    """The same of the events by eligible actors."""
    expected = {kind: _count(lakehouse, kind, eligible=True) for kind in WINDOW_TABLES}
    actual = {kind: table.total.eligible if table.total else 0 for kind, table in lakehouse.windows.items()}
    return check(
        "iceberg eligible",
        "sum of eligible_count = those by eligible actors",
        *_sums(expected, actual),
        _sum_differences("eligible_count", "events by eligible actors", expected, actual),
    )


def _count(lakehouse: Lakehouse, kind: EventKind, *, eligible: bool = False) -> int:
    counted = lakehouse.counts.get(kind)
    if counted is None:
        return 0
    return counted.eligible if eligible else counted.events


def _sums(expected: Mapping[EventKind, int], actual: Mapping[EventKind, int]) -> tuple[int, int]:
    return sum(expected.values()), sum(actual.values())


def _sum_differences(
    column: str, noun: str, expected: Mapping[EventKind, int], actual: Mapping[EventKind, int]
) -> Iterator[str]:
    for kind, number in expected.items():
        if actual[kind] != number:
            yield f"{WINDOW_TABLES[kind]}: sum of {column} is {actual[kind]}, but there are {number} {noun}"


def rows(facts: Facts, lakehouse: Lakehouse) -> Check:
    """Rows of PostgreSQL and the events in Iceberg, by their ids."""
    expected = actual = 0
    differences: list[str] = []
    for kind, row_ids in _row_ids(facts).items():
        wanted = np.intersect1d(lakehouse.expected_row_ids[kind], row_ids, assume_unique=True)
        found = lakehouse.records.row_ids(kind)
        noun = "image" if kind == "upload" else kind
        expected += len(wanted)
        actual += len(found)
        missing = np.setdiff1d(wanted, found, assume_unique=True)
        surplus = np.setdiff1d(found, row_ids, assume_unique=True)
        differences.extend(f"{noun} {row} has no event in event_aggregations.events" for row in id_texts(missing))
        differences.extend(
            f"event_aggregations.events has an event of {noun} {row}, which has no row" for row in id_texts(surplus)
        )
    return check("iceberg rows", "each aggregated event has its row, and back", expected, actual, differences)


def _row_ids(facts: Facts) -> dict[EventKind, Ids]:
    return {
        "upload": ids_of(facts.rows.images),
        "comment": facts.rows.comments.ids,
        "flag": facts.rows.flags.ids,
    }


def training_rows(facts: Facts, lakehouse: Lakehouse, training: TrainingRows) -> Check:
    """One row per image and decision point, of images that may be used, at anchors whose history is complete."""

    def differences() -> Iterator[str]:
        if training.kept is not None and training.kept != training.rows:
            yield f"{TRAINING_TABLE} has {training.rows} rows, but its snapshot says {training.kept}"
        for image_id, minutes, number in training.repeated:
            yield f"{TRAINING_TABLE} has {number} rows of image {image_id} at {minutes} minutes"
        for image_id, minutes in training.mislabelled:
            yield (
                f"{TRAINING_TABLE} has a row of image {image_id} at {minutes} minutes whose first_flagged_at does not "
                "fit its label, or lies outside (anchor_time, label_observed_until]"
            )
        for image_id, image in training.images.items():
            yield from _image_differences(facts, lakehouse, training, image_id, image)

    keys = training.rows - sum(number - 1 for *_, number in training.repeated)
    return check("training rows", "one row an image and anchor, all usable", keys, training.rows, differences())


def _image_differences(
    facts: Facts, lakehouse: Lakehouse, training: TrainingRows, image_id: str, image: TrainingImage
) -> Iterator[str]:
    row = facts.rows.images.get(image_id)
    until_us = round(lakehouse.complete_through.timestamp() * 1_000_000)
    if image.last_anchor_us > until_us:
        yield (
            f"{TRAINING_TABLE} has a row of image {image_id} at an anchor after "
            f"{lakehouse.complete_through.isoformat()}, up to where the events are complete"
        )
    if row is None:
        yield f"{TRAINING_TABLE} has rows of image {image_id}, which has no row"
        return
    if image.uploads_us != (row.created_at_us,):
        yield f"{TRAINING_TABLE} has anchors of image {image_id} that do not follow from its upload"
    if not row.uploader_eligible:
        yield (
            f"{TRAINING_TABLE} has rows of image {image_id}, whose uploader is a test account or may be under 18 "
            "(when that changed today, the next run of moderation_training removes them)"
        )
    extracted_at = training.extracted_at
    if row.deleted_at_us is not None and (
        extracted_at is None or row.deleted_at_us <= extracted_at.timestamp() * 1_000_000
    ):
        yield f"{TRAINING_TABLE} has rows of image {image_id}, which was deleted before they were made"
