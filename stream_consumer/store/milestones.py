"""Milestones in Redis that PostgreSQL does not have yet."""

from collections.abc import Iterable
from typing import NamedTuple

from redis import Redis

from gourmetgram.redis_keys import MILESTONES, score_us
from stream_consumer.store.connection import redis_errors


class Milestone(NamedTuple):
    """An image whose total of views reached a round number."""

    image_id: str
    value: int


class MilestoneStore:
    """Pending milestones, not yet in PostgreSQL. May be used from another thread.

    Args:
        client: a client that does not decode answers.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    def waiting(self, at_most: int) -> dict[Milestone, int]:
        """Pending milestones, with the times at which they were reached (microseconds).

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        found: dict[Milestone, int] = {}
        with redis_errors():
            for name, score in self._client.hscan_iter(MILESTONES, count=at_most):
                image_id, value = name.decode().split("/")
                found[Milestone(image_id, int(value))] = score_us(score)
                if len(found) >= at_most:
                    break
        return found

    def remove(self, milestones: Iterable[Milestone]) -> None:
        """Delete milestones that PostgreSQL has or will never accept.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            self._client.hdel(MILESTONES, *(f"{milestone.image_id}/{milestone.value}" for milestone in milestones))
