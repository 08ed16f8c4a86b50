"""Applied offsets in Redis, the authoritative ones."""

from collections.abc import Mapping, Sequence
from typing import cast

from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.kafka.partitions import Partition
from gourmetgram.redis_keys import LAST_RECORDS, OFFSETS, ORIGINS
from stream_consumer.continuity import LastRecord
from stream_consumer.store.connection import redis_errors, tune


class OffsetStore:
    """Next offset to apply of each partition, the record before it, and the identity of its topic.

    Args:
        servers: clients that do not decode answers.
    """

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers

    def tune(self) -> None:
        """See `connection.tune`; also compares the list of servers with the one that wrote the state.

        Raises:
            RedisUnavailableError: Redis did not answer.
            TransientError: another list of servers was in use; see `RedisServers.check`.
        """
        for client in self._servers.clients:
            tune(client)
        with redis_errors():
            self._servers.check(claim=True)

    def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            for client in self._servers.clients:
                client.ping()

    def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        """Next offset to apply of each partition; None where Redis has none.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        values = self._read(OFFSETS, partitions)
        return {partition: None if value is None else int(value) for partition, value in values.items()}

    def origins(self, partitions: Sequence[Partition]) -> dict[Partition, str | None]:
        """Identity of the topic that each partition's offset belongs to; None where Redis has none.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        values = self._read(ORIGINS, partitions)
        return {partition: None if value is None else value.decode() for partition, value in values.items()}

    def last_records(self, partitions: Sequence[Partition]) -> dict[Partition, LastRecord | None]:
        """Last applied record of each partition; None where Redis has none, as after an update from an older version.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        values = self._read(LAST_RECORDS, partitions)
        return {partition: None if value is None else LastRecord.parse(value) for partition, value in values.items()}

    def start(self, offsets: Mapping[Partition, int], origins: Mapping[Partition, str]) -> None:
        """Write the first offsets of partitions that are new to Redis, were created again, or lost records.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            for client, own in self._servers.by_server({**offsets, **origins}, _number):
                pipeline = client.pipeline(transaction=True)
                for name, values in ((OFFSETS, offsets), (ORIGINS, origins)):
                    if named := [each for each in own if each in values]:
                        pipeline.hset(name, mapping={str(each): values[each] for each in named})
                pipeline.execute()

    def _read(self, name: str, partitions: Sequence[Partition]) -> dict[Partition, bytes | None]:
        found: dict[Partition, bytes | None] = {}
        with redis_errors():
            for client, own in self._servers.by_server(partitions, _number):
                values = cast(list[bytes | None], client.hmget(name, [str(partition) for partition in own]))
                found.update(zip(own, values, strict=True))
        return found


def _number(partition: Partition) -> int:
    return partition.number
