"""Redis: totals, windows and metadata are those that the events demand."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Final

from gourmetgram.events import EventKind
from gourmetgram.features.definition import CATEGORIES, UNKNOWN_CATEGORY
from gourmetgram_tools.inspection.checks.facts import Check, Facts, check
from gourmetgram_tools.inspection.event_log import Accepted, AcceptedEvents
from gourmetgram_tools.inspection.history import Upload
from gourmetgram_tools.inspection.redis_state import Members, Window, microseconds
from gourmetgram_tools.inspection.triggers import SECOND_US, since_gaps

KINDS: Final[Mapping[str, EventKind]] = {"views": "view", "comments": "comment", "flags": "flag"}
HOUR_US: Final = 3600 * SECOND_US
TOTAL_TTL_US: Final = 7 * 24 * HOUR_US
HOUR_SET_TTL_US: Final = 2 * HOUR_US
# A key is written a little after the broker has stored the event, and read a little after this audit began.
SLACK_US: Final = 60 * SECOND_US


def totals(facts: Facts) -> Check:
    """`total_*` count distinct events by eligible actors since the key's last expiry."""
    expected = {}
    for image_id, image in facts.history.images.items():
        for name, kind in KINDS.items():
            if image.accepted[kind]:
                expected[image_id, name] = since_gaps(image.accepted[kind], TOTAL_TTL_US)[-1]
    return check(
        "totals",
        "total_* = distinct events by eligible actors",
        sum(map(len, expected.values())),
        sum(facts.redis.totals.values()),
        _total_differences(facts, expected),
    )


def _total_differences(facts: Facts, expected: Mapping[tuple[str, str], Sequence[Accepted]]) -> Iterator[str]:
    actual = facts.redis.totals
    for (image_id, name), events in expected.items():
        key = f"image:{image_id}:total_{name}"
        value = actual.get((image_id, name))
        if value is None:
            if is_young(events[-1], TOTAL_TTL_US, facts.now_us):
                yield f"{key} is missing; {len(events)} events"
        elif value < len(events) or (value > len(events) and facts.is_complete(image_id)):
            yield f"{key} is {value}; {len(events)} events"
    for (image_id, name), value in actual.items():
        if (image_id, name) not in expected and facts.is_complete(image_id):
            yield f"image:{image_id}:total_{name} is {value}; no events"


def is_young(event: Accepted, ttl_us: int, now_us: int) -> bool:
    """Whether a key that an event wrote cannot have expired yet."""
    return event.broker_time_us > now_us - ttl_us + SLACK_US


def member_of(kind: EventKind, event: Accepted) -> str:
    """The event's member in its windows."""
    seconds, micros = divmod(event.time_us, SECOND_US)
    return f"{kind}:{seconds}.{micros:06d}:{event.event_id[:8]}"


def windows(facts: Facts) -> Check:
    """The `1hr` sets hold the events of their last hour, and no window holds anything that is no event."""
    expected = actual = 0
    differences: list[str] = []
    for image_id, image in facts.history.images.items():
        for name, kind in KINDS.items():
            events = image.accepted[kind]
            if not events:
                continue
            found = facts.redis.windows.get(Window(image_id, name, "1hr"))
            required = _last_hour(kind, events)
            if found is None:
                if is_young(events[-1], HOUR_SET_TTL_US, facts.now_us):
                    expected += len(required)
                    differences.append(f"image:{image_id}:{name}:1hr is missing; {len(required)} events in its hour")
                continue
            expected += len(required)
            actual += sum(member in found for member in required)
            missing = required.keys() - found.keys()
            differences.extend(f"image:{image_id}:{name}:1hr lacks {member}" for member in sorted(missing))
    differences.extend(_surplus_members(facts))
    differences.extend(f"unreadable key {text}" for text in facts.redis.unreadable)
    return check("windows", "1hr windows hold just their hour's events", expected, actual, differences)


def _last_hour(kind: EventKind, events: AcceptedEvents) -> Members:
    """Members that a `1hr` set must hold: the last hour of event time, as far as the set cannot have expired within."""
    after_us = int(events.times.max()) - HOUR_US
    alive = since_gaps(events, HOUR_US)[-1]
    return {member_of(kind, event): event.time_us for event in alive.since(after_us)}


def _surplus_members(facts: Facts) -> Iterator[str]:
    for window, members in facts.redis.windows.items():
        image = facts.history.images.get(window.image_id)
        if not facts.is_complete(window.image_id):
            continue
        kind = KINDS[window.kind]
        # A popular image has more events than its windows have members: only those that could be one are looked at.
        events = image.accepted[kind].at(_times_of(members)) if image else ()
        real = {member_of(kind, event): event.time_us for event in events}
        key = f"image:{window.image_id}:{window.kind}:{window.width}"
        for member, score_us in members.items():
            if member not in real:
                yield f"{key} holds {member}, which is no event of the image"
            elif score_us != real[member]:
                yield f"{key} holds {member} with the score of another time"


def _times_of(members: Members) -> set[int]:
    """The event times that members have as scores or in their names."""
    times = set(members.values())
    for member in members:
        time = member.split(":")[1:2]
        with suppress(ValueError, OverflowError):
            times.update(map(microseconds, time))
    # Anything larger was typed in by hand, and is the time of no event.
    return {time_us for time_us in times if abs(time_us) < 2**62}


def metadata(facts: Facts) -> Check:
    """The hash of each image that an eligible user uploaded."""
    expected = {image_id: upload for image_id, upload in facts.history.uploads.items() if upload.eligible}
    actual = facts.redis.metadata

    def differences() -> Iterator[str]:
        for image_id, upload in expected.items():
            found = actual.get(image_id)
            if found is None:
                if is_young(upload.event, TOTAL_TTL_US, facts.now_us):
                    yield f"image:{image_id}:metadata is missing"
            else:
                yield from _metadata_differences(image_id, upload, found)
        for image_id in actual.keys() - expected.keys():
            if facts.is_complete(image_id):
                yield f"image:{image_id}:metadata has no upload by an eligible user"

    return check(
        "metadata", "metadata is that of the upload event", len(expected), len(actual), list(chain(differences()))
    )


def _metadata_differences(image_id: str, upload: Upload, found: Mapping[str, str]) -> Iterator[str]:
    category = upload.category.strip() if isinstance(upload.category, str) else None
    caption = upload.caption if isinstance(upload.caption, str) else ""
    wanted = {
        "category": category if category in CATEGORIES else UNKNOWN_CATEGORY,
        "caption_length": str(len(caption)),
        "user_id": str(upload.user_id or ""),
    }
    for field, value in wanted.items():
        if found.get(field) != value:
            yield f"image:{image_id}:metadata has {field}={found.get(field)!r} instead of {value!r}"
    if microseconds(found.get("uploaded_at") or 0) != upload.event.time_us:
        yield f"image:{image_id}:metadata has another time in uploaded_at than the event"


REDIS_CHECKS = (totals, windows, metadata)
