"""The 29 features by counting, straight from the words of the contract: no SQL, no Redis, none of the platform's code.

Events come as parsed messages; everything else as in `tests.support.histories`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np

from gourmetgram.events import Event
from tests.support.histories import History, Image, Point

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CATEGORIES = (
    "Bread",
    "Dairy product",
    "Dessert",
    "Egg",
    "Fried food",
    "Meat",
    "Noodles/Pasta",
    "Rice",
    "Seafood",
    "Soup",
    "Vegetable/Fruit",
)


def moment(time_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_us)


def in_window(events: Iterable[Event], image_id: str, kind: str, t: datetime, seconds: int) -> int:
    """Distinct events by eligible actors in (t - seconds, t]."""
    start = t - timedelta(seconds=seconds)
    return len(
        {
            event.event_id
            for event in events
            if event.kind == kind
            and event.image_id == image_id
            and event.actor_eligible
            and start < moment(event.time_us) <= t
        }
    )


def total_flags(history: History, image_id: str, t: datetime) -> int:
    """Flags by eligible actors up to t on the image or on its comments, whatever became of them."""
    return sum(
        flag.eligible
        and moment(flag.created_us) <= t
        and image_id in (flag.image_id, history.comments.get(flag.comment_id or ""))
        for flag in history.flags
    )


def images_of(history: History, user_id: str, t: datetime) -> int:
    """Images uploaded at or before t and not deleted at t."""
    return sum(
        image.user_id == user_id
        and moment(image.created_us) <= t
        and (image.deleted_us is None or moment(image.deleted_us) > t)
        for image in history.images
    )


def brute_force_vector(history: History, point: Point) -> list[np.float32]:
    """The 29 features of a point."""
    image = next(image for image in history.images if image.image_id == point.image_id)
    t, events = moment(point.time_us), history.events
    views, views_hour = (in_window(events, image.image_id, "view", t, seconds) for seconds in (300, 3600))
    comments, comments_hour = (in_window(events, image.image_id, "comment", t, seconds) for seconds in (300, 3600))
    flags, flags_hour = (in_window(events, image.image_id, "flag", t, seconds) for seconds in (300, 3600))
    caption_length = len(image.caption or "")
    numbers = [
        *upload_time(image, t),
        *(views, views_hour, comments, comments_hour, flags, flags_hour),
        total_flags(history, image.image_id, t),
        views / 5,
        comments_hour / max(views_hour, 1),
        views + 5 * comments,
        caption_length,
        1 if caption_length > 0 else 0,
        images_of(history, image.user_id, t),
        user_age_days(history, image.user_id, t),
        *(1 if (image.category or "").strip() == name else 0 for name in CATEGORIES),
    ]
    return [np.float32(number) for number in numbers]


def upload_time(image: Image, t: datetime) -> tuple[int, int, int, int]:
    """Features 1 to 4."""
    uploaded = moment(image.created_us)
    day = uploaded.weekday()
    return max(0, (t - uploaded) // timedelta(seconds=1)), uploaded.hour, day, 1 if day >= 5 else 0


def user_age_days(history: History, user_id: str, t: datetime) -> int:
    """Whole days since the registration; 0 before it or when it is unknown."""
    created_us = history.users[user_id]
    return 0 if created_us is None else max(0, (t - moment(created_us)) // timedelta(days=1))
