"""The history: users, their uploads, and all reactions, generated in an order that needs little memory.

The same seed, size and end give the same history, row by row and id by id.
"""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final, NamedTuple

from faker import Faker

from data_generator.backfill import model
from data_generator.backfill.model import Traits
from data_generator.people import OLDEST_BIRTH_YEAR, YOUNGEST_AGE_YEARS
from data_generator.texts import Texts
from gourmetgram.events import EventKind
from gourmetgram.moments import HOUR_US, SECOND_US, from_us, to_us
from gourmetgram.policy.eligibility import actor_eligible

_BATCH_OF_DRAWS: Final = 100_000
_REACTIONS: Final[tuple[EventKind, EventKind, EventKind]] = ("view", "comment", "flag")


class PastUser(NamedTuple):
    """A user. Times are microseconds since the epoch."""

    id: str
    username: str
    country: str
    year_of_birth: int
    is_test_account: bool
    created_us: int
    trouble: float


class PastImage(NamedTuple):
    """An image with two facts for the ground truth only: its uploader's index and its traits."""

    id: str
    user: int
    category: str
    caption: str | None
    created_us: int
    traits: Traits


class PastEvent(NamedTuple):
    """One event of an image.

    Attributes:
        event_id: UUID.
        kind: kind of event.
        at_us: event time, microseconds since the epoch.
        id: of the comment or flag; None for views; the image's for uploads.
        user_id: the actor; None for views.
        comment_id: the flagged comment; None for other events.
        text: of a comment, or a flag's reason.
        eligible: whether the actor's events count.
    """

    event_id: str
    kind: EventKind
    at_us: int
    id: str | None
    user_id: str | None
    comment_id: str | None
    text: str | None
    eligible: bool


@dataclass(frozen=True)
class BackfillPlan:
    """Size and time of a history.

    Attributes:
        seed: seed of all random draws.
        end: time of the last possible event.
        days: length of the history.
        images: number of uploads.
        events: uploads, views, comments and flags together; at least as many as images.
        test_account_rate: share of users that are test accounts.
    """

    seed: int
    end: datetime
    days: int
    images: int
    events: int
    test_account_rate: float

    @property
    def start(self) -> datetime:
        """Time of the first possible upload."""
        return self.end - timedelta(days=self.days)

    @property
    def users(self) -> int:
        """Number of users."""
        return 50 + self.images // 3


def latest_end(now: datetime) -> datetime:
    """End of a history that is made now: a whole hour, at least one hour ago.

    Events that reach the broker more than an hour after their time raise no alert. Runs within the same hour make the
    same history.
    """
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


class BackfillHistory:
    """Generator of a history: users and images at once, events image by image on request.

    Args:
        plan: size and time of the history.
    """

    def __init__(self, plan: BackfillPlan) -> None:
        self.plan = plan
        self._rng = self._stream("people and images")
        self._faker = Faker()
        self._texts = Texts(self._rng, self._faker)
        self._start_us, self._end_us = to_us(plan.start), to_us(plan.end)
        self.users = sorted((self._user(number) for number in range(plan.users)), key=lambda user: user.created_us)
        self._joined_us = [user.created_us for user in self.users]
        # A few users cause most of the events.
        self._activity = list(accumulate(self._rng.lognormvariate(0.0, 1.0) for _user in self.users))
        self.images = [self._image(created_us) for created_us in self._upload_times()]
        self.reactions = self._share_out_reactions()

    @property
    def bounds_us(self) -> tuple[int, int]:
        """Times of the first and the last possible event, microseconds since the epoch."""
        return self._start_us, self._end_us

    def views(self, image: int) -> int:
        """Views of an image at the end."""
        return self.reactions[image, "view"]

    def uploader(self, image: PastImage) -> PastUser:
        """Uploader of an image."""
        return self.users[image.user]

    def events(self, number: int) -> Iterator[PastEvent]:
        """All events of an image: upload, comments, flags, views; not sorted by time.

        Read them to the end before the events of another image.
        """
        image = self.images[number]
        # Each image has random numbers of its own, so the texts of one do not change the times of the next.
        rng = self._stream(f"image {number}")
        texts = Texts(rng, self._faker)
        uploader = self.uploader(image)
        eligible = self._eligible(uploader, image.created_us)
        yield PastEvent(_uuid(rng), "upload", image.created_us, image.id, uploader.id, None, None, eligible)
        comments = [self._comment(image, texts, rng) for _ in range(self.reactions[number, "comment"])]
        yield from comments
        for _ in range(self.reactions[number, "flag"]):
            yield self._flag(image, comments, texts, rng)
        yield from self._views(image, self.views(number), rng)

    def _stream(self, name: str) -> random.Random:
        return random.Random(f"{self.plan.seed}/{name}")

    def _user(self, number: int) -> PastUser:
        rng = self._rng
        # The first account is an old one, so that each upload has a possible uploader.
        is_new = number > 0 and rng.random() < model.SHARE_OF_NEW_ACCOUNTS
        if is_new:
            created_us = rng.randrange(self._start_us, self._end_us)
        else:
            created_us = self._start_us - 1 - round(rng.random() * model.DAYS_BEFORE * model.DAY_S * SECOND_US)
        return PastUser(
            id=_uuid(rng),
            # Never the name of a live user: those end with a number below 10,000 and have no such middle part.
            username=f"{self._texts.name()}_s{self.plan.seed}_{number}",
            country=self._texts.country(),
            year_of_birth=rng.randint(OLDEST_BIRTH_YEAR, self.plan.end.year - YOUNGEST_AGE_YEARS),
            is_test_account=rng.random() < self.plan.test_account_rate,
            created_us=created_us,
            trouble=model.draw_trouble(rng, new_account=is_new),
        )

    def _upload_times(self) -> list[int]:
        times: list[int] = []
        while len(times) < self.plan.images:
            moment_us = self._rng.randrange(self._start_us, self._end_us)
            if self._rng.random() < model.UPLOADS_BY_HOUR[_hour(moment_us)]:
                times.append(moment_us)
        return sorted(times)

    def _image(self, created_us: int) -> PastImage:
        rng = self._rng
        user = self._somebody(rng, created_us)
        age_s = (created_us - self.users[user].created_us) / SECOND_US
        traits = model.draw_traits(rng, trouble=self.users[user].trouble, account_age_s=age_s, hour=_hour(created_us))
        category = model.draw_category(rng, traits.severity)
        caption = None
        if model.has_caption(rng, traits.severity):
            extra = self._texts.words(model.extra_caption_words(rng, traits.severity))
            caption = f"{self._texts.caption(category)} {extra}".rstrip()
        return PastImage(_uuid(rng), user, category, caption, created_us, traits)

    def _somebody(self, rng: random.Random, at_us: int) -> int:
        """Index of a user that had joined by then, drawn in proportion to activity."""
        joined = bisect_left(self._joined_us, at_us)
        return bisect_left(self._activity, rng.random() * self._activity[joined - 1])

    def _share_out_reactions(self) -> Counter[tuple[int, EventKind]]:
        """Distribute the planned number of views, comments and flags over the images by their interest."""
        interests = [model.interest(self._rng, image.traits, self._lifetime_s(image)) for image in self.images]
        cells = [(number, kind) for number in range(len(self.images)) for kind in _REACTIONS]
        weights = list(accumulate(weight for interest in interests for weight in interest))
        counts: Counter[tuple[int, EventKind]] = Counter()
        left = self.plan.events - self.plan.images
        while left > 0:
            counts.update(self._rng.choices(cells, cum_weights=weights, k=min(left, _BATCH_OF_DRAWS)))
            left -= _BATCH_OF_DRAWS
        return counts

    def _lifetime_s(self, image: PastImage) -> float:
        return (self._end_us - image.created_us) / SECOND_US

    def _after(self, image: PastImage, delay_s: float) -> int:
        return min(self._end_us, image.created_us + 1 + round(delay_s * SECOND_US))

    def _comment(self, image: PastImage, texts: Texts, rng: random.Random) -> PastEvent:
        at_us = self._after(image, model.draw_delay(rng, self._lifetime_s(image)))
        user = self.users[self._somebody(rng, at_us)]
        eligible = self._eligible(user, at_us)
        return PastEvent(_uuid(rng), "comment", at_us, _uuid(rng), user.id, None, texts.comment(), eligible)

    def _flag(self, image: PastImage, comments: list[PastEvent], texts: Texts, rng: random.Random) -> PastEvent:
        at_us = self._after(image, model.draw_flag_delay(rng, image.traits.severity, self._lifetime_s(image)))
        user = self.users[self._somebody(rng, at_us)]
        target = None
        earlier = [comment for comment in comments if comment.at_us < at_us]
        if earlier and rng.random() < model.COMMENT_FLAG_SHARE:
            target = rng.choice(earlier).id
        eligible = self._eligible(user, at_us)
        return PastEvent(_uuid(rng), "flag", at_us, _uuid(rng), user.id, target, texts.flag_reason(), eligible)

    def _views(self, image: PastImage, number: int, rng: random.Random) -> Iterator[PastEvent]:
        lifetime_s = self._lifetime_s(image)
        burst_s = model.draw_burst(rng, lifetime_s)
        for _ in range(number):
            if image.traits.viral:
                delay_s = model.draw_delay_in_burst(rng, burst_s, lifetime_s)
            else:
                delay_s = model.draw_delay(rng, lifetime_s)
            yield PastEvent(_uuid(rng), "view", self._after(image, delay_s), None, None, None, None, True)

    def _eligible(self, user: PastUser, at_us: int) -> bool:
        return actor_eligible(
            is_test_account=user.is_test_account,
            year_of_birth=user.year_of_birth,
            event_year=from_us(at_us).year,
        )


def _hour(moment_us: int) -> int:
    return moment_us // HOUR_US % 24


def _uuid(rng: random.Random) -> str:
    """A random UUID (version 4), twice as fast as from the uuid module."""
    bits = rng.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (0x4 << 76) | (0x2 << 62)
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
