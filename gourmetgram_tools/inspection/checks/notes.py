"""What is worth knowing about the platform's data without being a difference."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from gourmetgram.events import EventKind
from gourmetgram_tools.inspection.checks.facts import Facts, Note
from gourmetgram_tools.inspection.checks.object_checks import swept_soon
from gourmetgram_tools.inspection.checks.request_checks import by_consumer
from gourmetgram_tools.inspection.rows import ActionRows

MAX_EXAMPLES = 5


def notes(facts: Facts) -> list[Note]:
    """All notes that have something to say."""
    history, lakehouse = facts.history, facts.lakehouse.found
    letters = Counter(f"{letter.consumer_group}: {letter.error}" for letter in facts.dead_letters)
    candidates = [
        _note("events delivered more than once (counted once)", history.copies),
        _note("events that no service wrote: simulated or typed in", history.by_hand),
        _note("records without their image's id as key", history.unkeyed),
        _note(
            "images whose events have no defined order (requests not compared)",
            [image_id for image_id, image in history.images.items() if image.scattered],
        ),
        _note("dead letters", list(letters.elements()), [f"{text} ({number})" for text, number in letters.items()]),
        _note("requests delivered more than once", [key for key, at in facts.requests.places.items() if len(at) > 1]),
        _note(
            "requests that the stream consumer did not make",
            [key for key, request in facts.requests.by_id.items() if not by_consumer(facts, request)],
        ),
        _note("decisions written by hand (they answer no request)", facts.rows.decisions_by_hand),
        _note("pictures without a row that an API will sweep", swept_soon(facts)),
        _note("unreadable records that the aggregation skipped", lakehouse.skipped if lakehouse else ()),
        _note("rows written without events (API v1, or older than Kafka's retention)", _rows_before_events(facts)),
    ]
    return [note for note in candidates if note.count]


def _note(name: str, ids: Iterable[str], examples: Iterable[str] | None = None) -> Note:
    found = list(ids)
    return Note(name, len(found), tuple(found if examples is None else examples)[:MAX_EXAMPLES])


def _rows_before_events(facts: Facts) -> list[str]:
    images = ActionRows.of((key, key, row.created_at_us) for key, row in facts.rows.images.items())
    kinds: list[tuple[str, EventKind, ActionRows]] = [
        ("image", "upload", images),
        ("comment", "comment", facts.rows.comments),
        ("flag", "flag", facts.rows.flags),
    ]
    return [
        f"{noun} {row_id}"
        for noun, kind, rows in kinds
        for row_id, row in rows.chosen(~np.isin(rows.ids, facts.history.row_events[kind].ids))
        if not facts.must_have_events(*row)
    ]
