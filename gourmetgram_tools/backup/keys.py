"""Keys of Redis in the server's own form (DUMP and RESTORE), in one Parquet file."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq
from redis import Redis, RedisError, ResponseError

from gourmetgram.clients.redis import TOOL
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.redis_keys import ORIGINS
from gourmetgram.settings import RedisSettings
from gourmetgram_tools.local.progress import StepReport

PAUSE_S: Final = 25.0
"""Longest pause of writes to Redis, seconds; less than the 30 s after which the consumer counts as standing still."""

_SCHEMA: Final = pa.schema(
    [("key", pa.binary()), ("ttl_ms", pa.int64()), ("payload", pa.binary()), ("server", pa.int16())]
)
_SERVERS: Final = b"servers"
"""Entry of the file's metadata: number of the servers that the keys come from."""
_KEYS_AT_ONCE: Final = 500
_PAGE: Final = """
local page = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2])
local rows = {}
for place, key in ipairs(page[2]) do
  rows[place] = { key, redis.call('PTTL', key), redis.call('DUMP', key) }
end
return { page[1], rows }
"""
"""A page of keys in one request: a third of the time of single commands. A pause lets read-only scripts through."""


class PausedRedis:
    """Redis servers whose keys do not change during the pause: no write, no expiry, no eviction."""

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers
        self._until = time.monotonic() + PAUSE_S
        for client in servers.clients:
            client.client_pause(int(PAUSE_S * 1000), all=False)
        self._run_ids = self._current_run_ids()

    def dump(self, file: Path, report: StepReport) -> int:
        """Write all keys, and return their number.

        Raises:
            TransientError: Redis was too slow for one pause, or was restarted.
        """
        keys = 0
        schema = _SCHEMA.with_metadata({_SERVERS: str(len(self._servers))})
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for server, client in enumerate(self._servers.clients):
                for rows in _pages(client):
                    columns = zip(*((*row, server) for row in rows), strict=True)
                    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
                    writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
                    keys += len(rows)
                    report(f"{keys:,} keys")
        if time.monotonic() > self._until or self._current_run_ids() != self._run_ids:
            raise TransientError(
                f"Redis was not read within {PAUSE_S:g} s, the longest pause of its writes, or it was restarted "
                "meanwhile. Make the backup again when the machine has less to do."
            )
        return keys

    def _current_run_ids(self) -> list[str]:
        """Ids of the servers' processes: a pause ends with them."""
        return [str(client.info("server")["run_id"]) for client in self._servers.clients]


def _pages(client: Redis) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Key, time to live in ms (-1 = for ever) and payload."""
    cursor: Any = 0
    while True:
        cursor, rows = cast(list[Any], client.eval_ro(_PAGE, 0, cursor, _KEYS_AT_ONCE))
        if rows:
            yield rows
        if int(cursor) == 0:
            return


@contextmanager
def _servers_of(settings: RedisSettings) -> Iterator[RedisServers]:
    """Clients of all servers, closed at the end.

    Raises:
        TransientError: a server does not answer.
    """
    with closing(RedisServers.connect(settings, TOOL)) as servers:
        try:
            yield servers
        except RedisError as error:
            raise TransientError(f"Redis does not answer: {error}") from error


@contextmanager
def paused_redis(settings: RedisSettings) -> Iterator[PausedRedis]:
    """Pause writes during the block. Clients wait; a killed backup leaves the pause to its time-out.

    Raises:
        TransientError: Redis does not answer, or was written with another list of servers.
    """
    with _servers_of(settings) as servers:
        servers.check()
        try:
            yield PausedRedis(servers)
        finally:
            for client in servers.clients:
                client.client_unpause()


def count_keys(settings: RedisSettings) -> int:
    """Number of keys.

    Raises:
        TransientError: Redis does not answer.
    """
    with _servers_of(settings) as servers:
        return sum(client.dbsize() for client in servers.clients)


def restore_keys(settings: RedisSettings, file: Path) -> None:
    """Restore all keys with the time to live that they had left, except the ids of the topics, which are new.

    Raises:
        PermanentError: the server refuses the form of a value, or the backup comes from another number of servers.
        TransientError: Redis does not answer.
    """
    with _servers_of(settings) as servers, pq.ParquetFile(file) as source:
        # Earlier versions, with one server, wrote neither the number nor the column.
        held = int((source.schema_arrow.metadata or {}).get(_SERVERS, 1))
        if held != len(servers):
            raise PermanentError(
                f"The backup holds the keys of {held} Redis servers, and {len(servers)} are set (REDIS_URLS): restore "
                "to as many servers, in the same order."
            )
        try:
            for batch in source.iter_batches(_KEYS_AT_ONCE):
                _restore(servers, batch.to_pylist())
        except ResponseError as error:
            raise PermanentError(
                f"Redis refuses the keys of the backup: {error}. They fit the kind and version of the server that they "
                "come from: the local stack runs Valkey, the Compose lab runs Redis. Restore on the same kind."
            ) from error


def _restore(servers: RedisServers, rows: list[dict[str, Any]]) -> None:
    pipelines = [client.pipeline(transaction=False) for client in servers.clients]
    for row in rows:
        if row["key"] != ORIGINS.encode():
            # SCAN may have reported a key twice.
            pipeline = pipelines[row.get("server", 0)]
            pipeline.restore(row["key"], max(0, row["ttl_ms"]), row["payload"], replace=True)
    for pipeline in pipelines:
        pipeline.execute()
