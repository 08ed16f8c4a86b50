"""What is worth knowing about the platform's data without being a difference."""

from collections import Counter
from collections.abc import Iterable

from gourmetgram.inspection.checks.facts import Facts, Note
from gourmetgram.inspection.checks.request_checks import by_consumer

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
        _note("unreadable records that the aggregation skipped", lakehouse.skipped if lakehouse else ()),
        _note("rows written without events (API v1, or older than Kafka's retention)", _rows_before_events(facts)),
    ]
    return [note for note in candidates if note.count]


def _note(name: str, ids: Iterable[str], examples: Iterable[str] | None = None) -> Note:
    found = list(ids)
    return Note(name, len(found), tuple(found if examples is None else examples)[:MAX_EXAMPLES])


def _rows_before_events(facts: Facts) -> list[str]:
    events = facts.history.row_events
    images = [
        f"image {key}"
        for key, row in facts.rows.images.items()
        if key not in events["upload"] and not facts.must_have_events(key, row.created_at_us)
    ]
    for kind, rows in (("comment", facts.rows.comments), ("flag", facts.rows.flags)):
        known = events["comment" if kind == "comment" else "flag"]
        images.extend(
            f"{kind} {key}"
            for key, row in rows.items()
            if key not in known and not facts.must_have_events(row.image_id, row.created_at_us)
        )
    return images
