"""The lab's own traffic without a platform: the real generator, an API in memory, a clock that only arrivals move."""

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from faker import Faker

from data_generator.arrivals import PoissonArrivals
from data_generator.bootstrap import create_initial
from data_generator.client import ApiClient, ListedComment, NewUser, User
from data_generator.handlers import Actors, random_event
from data_generator.people import People
from data_generator.pictures import Choice
from data_generator.service import SECONDS_PER_HOUR
from data_generator.settings import GeneratorSettings
from data_generator.statistics import Statistics
from data_generator.texts import Texts
from data_generator.world import World
from gourmetgram.features.definition import CATEGORIES
from gourmetgram.policy.eligibility import actor_eligible

BEGIN = datetime(2026, 3, 4, 12, tzinfo=UTC)
LAB = GeneratorSettings(generator_arrival_rate=3000.0, generator_initial_users=10, generator_initial_images=20)
"""The generator as docker/docker-compose.yaml runs it."""

_FAKER = Faker()  # takes a while to make; each run seeds it anew
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryApi:
    """Stands in for the API: keeps what it is told as rows of the raw extract, times in microseconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.seconds = 0.0
        self.users: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        self.flags: list[dict[str, Any]] = []
        self._eligible: dict[UUID, bool] = {}

    def server_now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    async def create_user(self, user: NewUser) -> User:
        key = self._id()
        self.users.append(
            {
                "user_id": str(key),
                "created_us": self.now_us(),
                "year_of_birth": user.year_of_birth,
                "is_test_account": user.is_test_account,
            }
        )
        self._eligible[key] = actor_eligible(
            is_test_account=user.is_test_account, year_of_birth=user.year_of_birth, event_year=BEGIN.year
        )
        return User(
            id=key, username=user.username, year_of_birth=user.year_of_birth, is_test_account=user.is_test_account
        )

    async def upload(self, user_id: UUID, _filename: str, _content: bytes, caption: str, category: str) -> UUID:
        key = self._id()
        self.images.append(
            {
                "image_id": str(key),
                "user_id": str(user_id),
                "created_us": self.now_us(),
                "deleted_us": None,
                "category": category,
                "caption_length": len(caption),
            }
        )
        return key

    async def view(self, _image_id: UUID) -> int:
        return 0

    async def comment(self, image_id: UUID, _user_id: UUID, _content: str) -> UUID:
        key = self._id()
        self.comments.append({"comment_id": str(key), "image_id": str(image_id)})
        return key

    async def comments_of(self, _image_id: UUID) -> list[ListedComment]:
        return []

    async def flag_image(self, image_id: UUID, user_id: UUID, _reason: str) -> UUID:
        return self._flag(user_id, image_id=str(image_id))

    async def flag_comment(self, comment_id: UUID, user_id: UUID, _reason: str) -> UUID:
        return self._flag(user_id, comment_id=str(comment_id))

    def _flag(self, user_id: UUID, image_id: str | None = None, comment_id: str | None = None) -> UUID:
        key = self._id()
        self.flags.append(
            {
                "flag_id": str(key),
                "image_id": image_id,
                "comment_id": comment_id,
                "actor_eligible": self._eligible[user_id],
                "review_status": "pending",
                "created_us": self.now_us(),
            }
        )
        return key

    def _id(self) -> UUID:
        return uuid.UUID(int=self._rng.getrandbits(128), version=4)

    def now_us(self) -> int:
        return (self.server_now() - _EPOCH) // timedelta(microseconds=1)


class _Pictures:
    def choose(self, rng: random.Random) -> Choice:
        return Choice(rng.choice(CATEGORIES), "picture.jpg", lambda: b"")


class OwnTraffic:
    """A run of the generator, which can be gone on with.

    Args:
        seed: of every draw; the same seed gives the same traffic.
        settings: rate, first users and images.
    """

    def __init__(self, seed: int, settings: GeneratorSettings = LAB) -> None:
        rng = random.Random(seed)
        self.rows = MemoryApi(random.Random(seed + 1))
        api, texts = cast(ApiClient, self.rows), Texts(rng, _FAKER)
        self._settings = settings
        self._actors = Actors(
            api, People(api, settings, texts, rng), _Pictures(), texts, World.empty(), Statistics(), rng
        )
        asyncio.run(create_initial(self._actors, settings))

    def run_until(self, minutes: float) -> None:
        """Let the clock reach so many minutes after the start."""
        asyncio.run(self._run(60 * minutes))

    def rest_until(self, minutes: float) -> None:
        """Let the clock reach so many minutes after the start, without traffic."""
        self.rows.seconds = 60 * minutes

    async def _run(self, end_s: float) -> None:
        rate, clock = self._settings.generator_arrival_rate / SECONDS_PER_HOUR, self.rows

        async def wait(seconds: float) -> None:
            clock.seconds += seconds

        async for due in PoissonArrivals(rate, self._actors.rng, lambda: clock.seconds, wait):
            # An exponential gap has no memory: what is left of it may be drawn anew later.
            if due > end_s:
                clock.seconds = end_s
                return
            await random_event(self._actors)
