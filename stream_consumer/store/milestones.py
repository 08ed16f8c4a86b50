"""Milestones in Redis that PostgreSQL does not have yet."""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.redis_keys import MILESTONES, score_us
from stream_consumer.store.connection import redis_errors


class Milestone(NamedTuple):
    """An image whose total of views reached a round number."""

    image_id: str
    value: int


class MilestoneStore:
    """Pending milestones, not yet in PostgreSQL. May be used from another thread.

    Args:
        servers: clients that do not decode answers.
    """

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers

    def waiting(self, at_most: int) -> dict[Milestone, int]:
        """Pending milestones, with the times at which they were reached (microseconds).

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        found: dict[Milestone, int] = {}
        with redis_errors():
            stored = (client.hscan_iter(MILESTONES, count=at_most) for client in self._servers.clients)
            for name, score in chain.from_iterable(stored):
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
        names = [f"{milestone.image_id}/{milestone.value}" for milestone in milestones]
        with redis_errors():
            for client in self._servers.clients:
                client.hdel(MILESTONES, *names)
