"""Made-up histories of a few images: what people did, how it reached Kafka, and moments to look at it.

A `Plan` is small numbers only, so that hypothesis can draw it; `act_out` gives it ids and turns it into rows and
messages. Times are drawn where mistakes hide: at the edges of windows around each other, a microsecond beside them,
around midnight, a change of clocks, a weekend and the turn of a year.
"""

import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property
from typing import NamedTuple

import orjson
from hypothesis import strategies as st

from gourmetgram.events import Event, Record, parse_event
from gourmetgram.features.definition import CATEGORIES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000

BASES = (
    datetime(2026, 3, 8, 6, 59, 58, 123_456, tzinfo=UTC),  # New York is about to skip an hour
    datetime(2026, 11, 1, 5, 30, tzinfo=UTC),  # and here repeats one
    datetime(2025, 12, 31, 23, 50, 0, 1, tzinfo=UTC),
    datetime(2026, 2, 27, 23, 59, 59, 999_999, tzinfo=UTC),  # a Friday's last microsecond
    datetime(2024, 2, 29, 12, tzinfo=UTC),
)

_STEPS_S = (0, 60, 300, 600, 1_800, 3_600, 5_400, -60, -300, -3_600)
_NUDGES_US = (0, 0, 0, 1, -1, 999_999, -999_999, 1_500_000)

offsets_us = st.builds(
    lambda step, nudge: step * SECOND_US + nudge, st.sampled_from(_STEPS_S), st.sampled_from(_NUDGES_US)
)
"""Microseconds after a history's base time."""

registrations_us = st.builds(
    lambda days, offset_us: offset_us - days * 86_400 * SECOND_US, st.sampled_from((0, 1, 2, 365)), offsets_us
)

_CATEGORIES = (None, "", " Soup ", "soup", "Noodles/Pasta\n", "Pizza", *CATEGORIES)
_CAPTIONS = (None, "", "hot", "naïve 🍜", "日本語")


class UserPlan(NamedTuple):
    """A user; registered `created_us` after the base time, at an unknown time when None."""

    created_us: int | None


class ImagePlan(NamedTuple):
    """An image of user number `owner`."""

    owner: int
    created_us: int
    deleted_us: int | None
    category: str | None
    caption: str | None


class FlagPlan(NamedTuple):
    """A row of flags: on an image, on a comment, or on both."""

    image: int | None
    comment: int | None
    created_us: int
    eligible: bool
    status: str


class EventPlan(NamedTuple):
    """Events of one moment; `copies` is how often each reaches Kafka, `clock` how their time is written."""

    kind: str
    image: int
    time_us: int
    eligible: bool
    copies: int
    clock: int
    number: int


class PointPlan(NamedTuple):
    """A moment at which to look at an image."""

    image: int
    time_us: int


class Plan(NamedTuple):
    """A history in small numbers. `comments` names the image of each comment."""

    base: int
    users: tuple[UserPlan, ...]
    images: tuple[ImagePlan, ...]
    comments: tuple[int, ...]
    flags: tuple[FlagPlan, ...]
    events: tuple[EventPlan, ...]
    points: tuple[PointPlan, ...]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a history with up to three images."""
    users = draw(st.lists(st.builds(UserPlan, st.none() | registrations_us), min_size=1, max_size=2))
    image = st.builds(
        ImagePlan,
        owner=st.integers(0, len(users) - 1),
        created_us=offsets_us,
        deleted_us=st.none() | offsets_us,
        category=st.sampled_from(_CATEGORIES),
        caption=st.sampled_from(_CAPTIONS),
    )
    images = draw(st.lists(image, min_size=1, max_size=3))
    one_image = st.integers(0, len(images) - 1)
    comments = draw(st.lists(one_image, max_size=3))
    one_comment = st.integers(0, len(comments) - 1) if comments else st.nothing()
    targets = st.tuples(one_image, st.none()) | st.tuples(st.none() | one_image, one_comment)
    flag = st.builds(
        lambda target, *rest: FlagPlan(*target, *rest),
        targets,
        offsets_us,
        st.booleans(),
        st.sampled_from(("pending", "confirmed", "rejected")),
    )
    event = st.builds(
        EventPlan,
        kind=st.sampled_from(("view", "view", "comment", "flag", "upload")),
        image=one_image,
        time_us=offsets_us,
        eligible=st.sampled_from((True, True, True, False)),
        copies=st.sampled_from((1, 1, 1, 2, 3)),
        clock=st.integers(0, len(_CLOCKS) - 1),
        number=st.sampled_from((1, 1, 1, 2, 9)),
    )
    return Plan(
        base=draw(st.integers(0, len(BASES) - 1)),
        users=tuple(users),
        images=tuple(images),
        comments=tuple(comments),
        flags=tuple(draw(st.lists(flag, max_size=4))),
        events=tuple(draw(st.lists(event, max_size=14))),
        points=tuple(draw(st.lists(st.builds(PointPlan, one_image, offsets_us), min_size=1, max_size=4))),
    )


# --- acting it out ---------------------------------------------------------------------------------------------------


class Image(NamedTuple):
    """A row of images, times in microseconds."""

    image_id: str
    user_id: str
    created_us: int
    deleted_us: int | None
    category: str | None
    caption: str | None


class Flag(NamedTuple):
    """A row of flags."""

    flag_id: str
    user_id: str
    image_id: str | None
    comment_id: str | None
    created_us: int
    eligible: bool
    status: str


class Point(NamedTuple):
    """A moment at which to look at an image."""

    point_id: str
    image_id: str
    time_us: int


@dataclass
class History:
    """Rows and messages of one plan.

    Attributes:
        users: registration time by user id.
        comments: image id by comment id.
        records: the messages as they stand in Kafka, in the order in which they came.
    """

    plan: Plan
    users: dict[str, int | None]
    images: list[Image]
    comments: dict[str, str]
    flags: list[Flag]
    records: list[Record]
    points: list[Point]

    @cached_property
    def events(self) -> list[Event]:
        """What the messages say, copies included."""
        parsed = [parse_event(record) for record in self.records]
        assert all(isinstance(event, Event) for event in parsed)
        return [event for event in parsed if isinstance(event, Event)]


def act_out(plan: Plan, offsets: "itertools.count[int]") -> History:
    """Give a plan ids of its own, and its messages the next offsets."""
    base_us = (BASES[plan.base] - EPOCH) // timedelta(microseconds=1)
    user_ids = [str(uuid.uuid4()) for _ in plan.users]
    image_ids = [str(uuid.uuid4()) for _ in plan.images]
    comment_ids = [str(uuid.uuid4()) for _ in plan.comments]

    def moment(offset_us: int | None) -> int | None:
        return None if offset_us is None else base_us + offset_us

    return History(
        plan=plan,
        users={key: moment(user.created_us) for key, user in zip(user_ids, plan.users, strict=True)},
        images=[
            Image(key, user_ids[image.owner], base_us + image.created_us, moment(image.deleted_us), *image[3:])
            for key, image in zip(image_ids, plan.images, strict=True)
        ],
        comments={key: image_ids[image] for key, image in zip(comment_ids, plan.comments, strict=True)},
        flags=[
            Flag(
                flag_id=str(uuid.uuid4()),
                user_id=user_ids[0],
                image_id=None if flag.image is None else image_ids[flag.image],
                comment_id=None if flag.comment is None else comment_ids[flag.comment],
                created_us=base_us + flag.created_us,
                eligible=flag.eligible,
                status=flag.status,
            )
            for flag in plan.flags
        ],
        records=_records(plan, image_ids, base_us, offsets),
        points=[Point(str(uuid.uuid4()), image_ids[point.image], base_us + point.time_us) for point in plan.points],
    )


# The time of an event of a kind, as fields of its message.
_Clock = Callable[[str, datetime], dict[str, object]]


def _iso(zone: timezone | None, mark: str = "") -> _Clock:
    def write(kind: str, moment: datetime) -> dict[str, object]:
        local = moment.astimezone(zone or UTC)
        text = (local if zone is not None else local.replace(tzinfo=None)).isoformat() + mark
        return {"viewed_at" if kind == "view" else "created_at": text}

    return write


def _unix(_kind: str, moment: datetime) -> dict[str, object]:
    return {"timestamp": (moment - EPOCH) / timedelta(seconds=1)}


_CLOCKS = (
    _iso(UTC),
    _iso(None),  # without an offset: UTC
    _iso(None, "Z"),
    _iso(timezone(timedelta(hours=5, minutes=45))),
    _iso(timezone(timedelta(hours=-9, minutes=-30))),
    _unix,
)


def _records(plan: Plan, image_ids: Sequence[str], base_us: int, offsets: "itertools.count[int]") -> list[Record]:
    """Messages in the order of the plan, whatever their times; copies come after everything else."""
    first, later = [], []
    for event in itertools.chain.from_iterable([event] * event.number for event in plan.events):
        moment = EPOCH + timedelta(microseconds=base_us + event.time_us)
        message = {
            "event_type": event.kind,
            "event_id": str(uuid.uuid4()),
            "image_id": image_ids[event.image],
            **_CLOCKS[event.clock](event.kind, moment),
        }
        # Missing means eligible, too.
        if not event.eligible or event.copies == 2:
            message["actor_eligible"] = event.eligible
        topic = f"gourmetgram.{event.kind}s"
        first.append((topic, orjson.dumps(message)))
        later += [(topic, orjson.dumps(message))] * (event.copies - 1)
    broker_us = base_us + 86_400 * SECOND_US
    return [Record(topic, 0, next(offsets), broker_us, value) for topic, value in first + later]
