"""Rows and events: no row without its event, no event without its row, each once and in its place."""

from collections.abc import Iterator

import numpy as np

from gourmetgram.events import EventKind
from gourmetgram_tools.inspection.checks.facts import Check, Facts, check
from gourmetgram_tools.inspection.event_log import id_texts
from gourmetgram_tools.inspection.rows import ActionRows


def outbox_is_empty(facts: Facts) -> Check:
    """Nothing waits for the broker."""
    waiting = facts.rows.outbox
    return check(
        "outbox",
        "every event has left the outbox",
        0,
        len(waiting),
        (f"event {event_id} waits in the outbox" for event_id in waiting),
    )


def uploads(facts: Facts) -> Check:
    """Images and upload events."""
    images = facts.rows.images.items()
    rows = ActionRows.of((image_id, image_id, row.created_at_us) for image_id, row in images if row.source != "import")
    return _rows_and_events(facts, "upload", "image", rows)


def comments(facts: Facts) -> Check:
    """Comments and comment events."""
    return _rows_and_events(facts, "comment", "comment", facts.rows.comments)


def flags(facts: Facts) -> Check:
    """Flags and flag events."""
    return _rows_and_events(facts, "flag", "flag", facts.rows.flags)


def _rows_and_events(facts: Facts, kind: EventKind, noun: str, rows: ActionRows) -> Check:
    events = facts.history.row_events[kind]
    has_event = np.isin(rows.ids, events.ids)
    lacking = [row_id for row_id, row in rows.chosen(~has_event) if facts.must_have_events(*row)]

    def differences() -> Iterator[str]:
        yield from (f"{noun} {row_id} has no {kind} event" for row_id in lacking)
        has_row = np.isin(events.ids, rows.ids)
        yield from (f"{kind} event of {noun} {row_id}, which has no row" for row_id in id_texts(events.ids[~has_row]))
        several = has_row & (events.numbers > 1)
        for row_id, number in zip(id_texts(events.ids[several]), events.numbers[several].tolist(), strict=True):
            yield f"{noun} {row_id} has {number} different {kind} events"

    name = "uploads" if kind == "upload" else f"{noun}s"
    expected = int(has_event.sum()) + len(lacking)
    return check(
        name, f"each {noun} has one {kind} event, and back", expected, int(events.numbers.sum()), differences()
    )


def views(facts: Facts) -> Check:
    """The counter of each image and its API view events; simulated views move no counter."""
    differences = []
    expected = actual = 0
    for image_id, row in facts.rows.images.items():
        history = facts.history.images.get(image_id)
        events = history.api_views if history else 0
        exact = facts.must_have_events(image_id, row.created_at_us)
        actual += events
        # An image of API v1's time may have been viewed before there were events.
        expected += row.views if exact else min(row.views, events)
        if row.views < events or (exact and row.views != events):
            differences.append(f"image {image_id} has views={row.views}, but {events} view events")
    return check("views", "images.views = distinct API view events", expected, actual, differences)


def known_images(facts: Facts) -> Check:
    """Events are about images that exist."""
    ids = facts.history.images.keys()
    unknown = sorted(ids - facts.rows.images.keys())
    return check(
        "known images",
        "every event is about an image that has a row",
        len(ids),
        len(ids) - len(unknown),
        (f"events of image {image_id}, which has no row" for image_id in unknown),
    )


def partitions(facts: Facts) -> Check:
    """Co-partitioning, on which the order of an image's events rests."""
    keyed = facts.history.events.total() + len(facts.history.copies) - len(facts.history.unkeyed)
    return check(
        "partitions",
        "an image has one partition, in every topic",
        keyed,
        keyed - len(facts.history.misplaced),
        (f"record {place} is not in the partition of its key" for place in facts.history.misplaced),
    )


def bad_messages(facts: Facts) -> Check:
    """Messages that cannot be read are kept for people, and only those."""
    bad = {record[:3] for record in facts.history.bad}
    topics = {topic for topic, _ in facts.event_ranges}
    letters = {
        letter[:3]
        for letter in facts.dead_letters
        if letter.consumer_group == facts.consumer_group
        and letter.topic in topics
        # What retention has removed cannot be compared.
        and letter.offset >= facts.event_ranges.get((letter.topic, letter.partition), (0,))[0]
    }
    lost = (f"{_place(place)} cannot be read and has no dead letter" for place in sorted(bad - letters))
    surplus = (f"{_place(place)} has a dead letter, but can be read" for place in sorted(letters - bad))
    return check("bad messages", "each unreadable event has a dead letter", len(bad), len(letters), (*lost, *surplus))


def _place(place: tuple[str, int, int]) -> str:
    topic, partition, offset = place
    return f"{topic}/{partition}@{offset}"


EVENT_CHECKS = (outbox_is_empty, uploads, comments, flags, views, known_images, partitions, bad_messages)
