"""Several Redis servers: the rule that decides which of them holds a key, and the check that all programs agree on it.

A consumer changes offsets and state in one script call, so both must be on one server. Hence a server holds whole
partition numbers: number modulo servers. All keys of an image belong to the partition of its events, so the server of
an image follows from its id alone, as long as the number of servers divides the number of partitions. More partitions
then move no image. No key of Redis belongs to a user.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self, TypeVar

from confluent_kafka import murmur2
from redis import Redis

from gourmetgram.clients.redis import RedisDeadlines, connect
from gourmetgram.errors import TransientError
from gourmetgram.redis_keys import LAYOUT, OFFSETS
from gourmetgram.settings import RedisSettings

Item = TypeVar("Item")

_REMEDY: Final = (
    "Set REDIS_URLS to the former servers in their former order. Or empty all servers (FLUSHDB): then the consumers "
    "build the state again from the topics"
)


def server_of_partition(number: int, servers: int) -> int:
    """Index of the server that holds the state of a partition number."""
    return number % servers


def server_of_image(image_id: str, servers: int) -> int:
    """Index of the server that holds the keys of an image; the number of servers divides that of the partitions."""
    return murmur2(image_id.encode(), servers) if servers > 1 else 0


def is_at_home(image_id: str, partition: int, servers: int) -> bool:
    """True when a record of an image is in a partition whose state is on the image's server.

    Records without a key, or with another key, may be in any partition.
    """
    return servers == 1 or server_of_image(image_id, servers) == server_of_partition(partition, servers)


class RedisServers:
    """Clients of all servers, in the order of `REDIS_URLS`.

    Args:
        clients: one client of each server.
    """

    def __init__(self, clients: Sequence[Redis]) -> None:
        self.clients = tuple(clients)

    @classmethod
    def connect(cls, settings: RedisSettings, deadlines: RedisDeadlines, *, decode_responses: bool = False) -> Self:
        """Build the clients; each connects with its first command. Close them with `close()`."""
        return cls([connect(each, deadlines, decode_responses=decode_responses) for each in settings.redis_servers()])

    def __len__(self) -> int:
        return len(self.clients)

    def of_partition(self, number: int) -> Redis:
        """Server of a partition number."""
        return self.clients[server_of_partition(number, len(self))]

    def of_image(self, image_id: str) -> Redis:
        """Server of an image."""
        return self.clients[server_of_image(image_id, len(self))]

    def by_server(self, items: Iterable[Item], number_of: Callable[[Item], int]) -> list[tuple[Redis, list[Item]]]:
        """Group items by the server of their partition number; servers without items are left out."""
        groups: dict[int, list[Item]] = {}
        for item in items:
            groups.setdefault(server_of_partition(number_of(item), len(self)), []).append(item)
        return [(self.clients[server], group) for server, group in groups.items()]

    def check(self, *, claim: bool = False) -> None:
        """Check that the state on each server was written with the same servers in the same order.

        Args:
            claim: mark servers that hold no state yet as those of this order.

        Raises:
            TransientError: another list of servers was in use. Counts would be split over both, so nothing is read.
            RedisError: a server did not answer.
        """
        wanted = [f"{index}/{len(self)}" for index in range(len(self))]
        for client, mark in zip(self.clients, wanted, strict=True):
            self._refuse_others(client, mark)
        if claim:
            for client, mark in zip(self.clients, wanted, strict=True):
                # Another consumer may claim it at the same moment, for another order.
                if not client.set(LAYOUT, mark, nx=True):
                    self._refuse_others(client, mark)

    def _refuse_others(self, client: Redis, mark: str) -> None:
        found = client.get(LAYOUT)
        # Without a mark, an earlier version wrote the state, which knew one server only.
        if found is None and len(self) > 1 and client.exists(OFFSETS):
            found = b"0/1"
        text = found.decode() if isinstance(found, bytes) else found
        if text not in (None, mark):
            raise TransientError(
                f"REDIS_URLS has {len(self)} servers, and server {mark} holds the state of server {text} "
                f"(<index>/<number of servers>, key {LAYOUT}). {_REMEDY}"
            )

    def close(self) -> None:
        """Close all connections."""
        for client in self.clients:
            client.close()
