"""Applied offsets in Redis, the authoritative ones."""

from collections.abc import Mapping, Sequence
from typing import cast

from redis import Redis

from gourmetgram.kafka.partitions import Partition
from gourmetgram.redis_keys import LAST_RECORDS, OFFSETS, ORIGINS
from stream_consumer.continuity import LastRecord
from stream_consumer.store.connection import redis_errors, tune


class OffsetStore:
    """Next offset to apply of each partition, the record before it, and the identity of its topic.

    Args:
        client: a client that does not decode answers.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    def tune(self) -> None:
        """See `connection.tune`.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        tune(self._client)

    def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            self._client.ping()

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
            pipeline = self._client.pipeline(transaction=True)
            for name, values in ((OFFSETS, offsets), (ORIGINS, origins)):
                if values:
                    pipeline.hset(name, mapping={str(partition): value for partition, value in values.items()})
            pipeline.execute()

    def _read(self, name: str, partitions: Sequence[Partition]) -> dict[Partition, bytes | None]:
        if not partitions:
            return {}
        with redis_errors():
            values = cast(list[bytes | None], self._client.hmget(name, [str(partition) for partition in partitions]))
        return dict(zip(partitions, values, strict=True))
