"""Keys of Redis in the server's own form (DUMP and RESTORE), in one Parquet file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq
from redis import Redis, RedisError, ResponseError

from gourmetgram.clients.redis import TOOL, connect
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.redis_keys import ORIGINS
from gourmetgram.settings import RedisSettings
from gourmetgram_tools.local.progress import StepReport

PAUSE_S: Final = 25.0
"""Longest pause of writes to Redis, seconds; less than the 30 s after which the consumer counts as standing still."""

_SCHEMA: Final = pa.schema([("key", pa.binary()), ("ttl_ms", pa.int64()), ("payload", pa.binary())])
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
    """A Redis whose keys do not change during the pause: no write, no expiry, no eviction."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._until = time.monotonic() + PAUSE_S
        client.client_pause(int(PAUSE_S * 1000), all=False)
        self._run_id = _run_id(client)

    def dump(self, file: Path, report: StepReport) -> int:
        """Write all keys, and return their number.

        Raises:
            TransientError: Redis was too slow for one pause, or was restarted.
        """
        keys = 0
        with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
            for rows in self._pages():
                columns = zip(*rows, strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
                keys += len(rows)
                report(f"{keys:,} keys")
        if time.monotonic() > self._until or _run_id(self._client) != self._run_id:
            raise TransientError(
                f"Redis was not read within {PAUSE_S:g} s, the longest pause of its writes, or it was restarted "
                "meanwhile. Make the backup again when the machine has less to do."
            )
        return keys

    def _pages(self) -> Iterator[list[tuple[bytes, int, bytes]]]:
        """Key, time to live in ms (-1 = for ever) and payload."""
        cursor: Any = 0
        while True:
            cursor, rows = cast(list[Any], self._client.eval_ro(_PAGE, 0, cursor, _KEYS_AT_ONCE))
            if rows:
                yield rows
            if int(cursor) == 0:
                return


def _run_id(client: Redis) -> str:
    """Id of the server's process: a pause ends with it."""
    return str(client.info("server")["run_id"])


@contextmanager
def paused_redis(settings: RedisSettings) -> Iterator[PausedRedis]:
    """Pause writes during the block. Clients wait; a killed backup leaves the pause to its time-out.

    Raises:
        TransientError: Redis does not answer.
    """
    client = connect(settings, TOOL)
    try:
        paused = PausedRedis(client)
        try:
            yield paused
        finally:
            client.client_unpause()
    except RedisError as error:
        raise TransientError(f"Redis does not answer: {error}") from error
    finally:
        client.close()


def count_keys(settings: RedisSettings) -> int:
    """Number of keys.

    Raises:
        TransientError: Redis does not answer.
    """
    client = connect(settings, TOOL)
    try:
        return client.dbsize()
    except RedisError as error:
        raise TransientError(f"Redis does not answer: {error}") from error
    finally:
        client.close()


def restore_keys(settings: RedisSettings, file: Path) -> None:
    """Restore all keys with the time to live that they had left, except the ids of the topics, which are new.

    Raises:
        PermanentError: the server refuses the form of a value.
        TransientError: Redis does not answer.
    """
    client = connect(settings, TOOL)
    try:
        with pq.ParquetFile(file) as source:
            for batch in source.iter_batches(_KEYS_AT_ONCE):
                pipeline = client.pipeline(transaction=False)
                for row in batch.to_pylist():
                    if row["key"] != ORIGINS.encode():
                        # SCAN may have reported a key twice.
                        pipeline.restore(row["key"], max(0, row["ttl_ms"]), row["payload"], replace=True)
                pipeline.execute()
    except ResponseError as error:
        raise PermanentError(
            f"Redis refuses the keys of the backup: {error}. They fit the kind and version of the server that they "
            "come from: the local stack runs Valkey, the Compose lab runs Redis. Restore on the same kind."
        ) from error
    except RedisError as error:
        raise TransientError(f"Redis does not answer: {error}") from error
    finally:
        client.close()
