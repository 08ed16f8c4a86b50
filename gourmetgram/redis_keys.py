"""Names of the keys in Redis, and the format of members and scores.

A key with `%s` is a template: `IMAGE_TOTAL % (image_id, "views")`. The Lua scripts get the same templates.
Times are Unix seconds with six decimals (`moments.unix_text`); as scores they stay exact to the microsecond.
"""

import re
from typing import Final, NamedTuple

from gourmetgram.moments import SECOND_US, unix_text
from gourmetgram.windows import COUNTED_KINDS, LONGEST_WINDOW, WINDOW_US, CountedKind

IMAGE_KEYS: Final = "image:*"
"""Pattern of all keys of images."""

KEYS_OF_IMAGE: Final = "image:%s:*"
"""Pattern of the keys of one image: image id."""

IMAGE_WINDOW: Final = "image:%s:%s:%s"
"""Sorted set: image id, plural of the kind, window. Members are events, scores are event times."""

IMAGE_TOTAL: Final = "image:%s:total_%s"
"""Number of events: image id, plural of the kind."""

IMAGE_ALERT: Final = "image:%s:alert:%s"
"""Time of the last alert: image id, trigger."""

IMAGE_METADATA: Final = "image:%s:metadata"
"""Hash with facts about the upload: image id."""

OFFSETS: Final = "consumer:offsets"
"""Hash: partition (`<topic>/<number>`) -> next offset to apply."""

ORIGINS: Final = "consumer:origins"
"""Hash: partition -> id of the topic that the offset belongs to; a topic created again starts at offset 0."""

LAST_RECORDS: Final = "consumer:last_records"
"""Hash: partition -> the last applied record: `<offset> <broker time, microseconds> <fingerprint>`."""

SEEN: Final = "consumer:seen:%s"
"""Set of 16-byte event ids: hour of the event time, in hours since the epoch."""

PENDING: Final = "consumer:pending:%s"
"""Hash: partition number. Identity of a request -> pending request, not yet confirmed by the broker."""

ANCHORS: Final = "consumer:anchors:%s"
"""Sorted set: partition number. Members `<image>/anchor_<minutes>`, scores are the times of the anchors."""

WAITING: Final = "consumer:waiting"
"""Sorted set, all scores 0: `<image>/<t in 17 digits>/<identity>` of requests whose counts are not fixed yet."""

MILESTONES: Final = "consumer:milestones"
"""Hash: `<image>/<views>` -> time at which it was reached; milestones that PostgreSQL does not have yet."""


LAYOUT: Final = "consumer:layout"
"""`<index>/<number>`: place of this server in `REDIS_URLS`, and the number of servers, when its state was begun."""


class ImageKey(NamedTuple):
    """Parsed key of an image. Fields that its sort does not have are None.

    Attributes:
        sort: `window`, `total`, `alert` or `metadata`.
        plural: `views`, `comments` or `flags`, of a window or total.
        window: `1min`, `5min` or `1hr`.
        trigger: trigger of an alert.
    """

    image_id: str
    sort: str
    plural: str | None = None
    window: str | None = None
    trigger: str | None = None


_ID: Final = "([0-9a-f-]{36})"
_PLURAL: Final = f"({'|'.join(COUNTED_KINDS.values())})"
_match_window: Final = re.compile(IMAGE_WINDOW % (_ID, _PLURAL, f"({'|'.join(WINDOW_US)})")).fullmatch
_match_total: Final = re.compile(IMAGE_TOTAL % (_ID, _PLURAL)).fullmatch
_match_alert: Final = re.compile(IMAGE_ALERT % (_ID, r"(\w+)")).fullmatch
_match_metadata: Final = re.compile(IMAGE_METADATA % _ID).fullmatch


def parse_image_key(key: str) -> ImageKey | None:
    """Parts of an image's key; None for any other text."""
    if match := _match_window(key):
        return ImageKey(match[1], "window", plural=match[2], window=match[3])
    if match := _match_total(key):
        return ImageKey(match[1], "total", plural=match[2])
    if match := _match_alert(key):
        return ImageKey(match[1], "alert", trigger=match[2])
    if match := _match_metadata(key):
        return ImageKey(match[1], "metadata")
    return None


def longest_window(image_id: str, kind: CountedKind) -> str:
    """Key of the 1hr set, whose members give every count of a kind."""
    return IMAGE_WINDOW % (image_id, COUNTED_KINDS[kind], LONGEST_WINDOW)


def event_member(kind: CountedKind, time_us: int, event_id: str) -> str:
    """Member of an event in its windows: `view:1763700000.123456:0a1b2c3d`."""
    return f"{kind}:{unix_text(time_us)}:{event_id[:8]}"


def score_us(score: str | float) -> int:
    """Microseconds of a score or of a stored time.

    Raises:
        ValueError: the text is no number.
        OverflowError: the number is infinite.
    """
    return round(float(score) * SECOND_US)


def window_bounds(time_us: int, width_us: int) -> tuple[str, str]:
    """Arguments of ZCOUNT that count (t - width, t]."""
    return f"({unix_text(time_us - width_us)}", unix_text(time_us)
