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
_KEYS_AT_ONCE: Final = 1_000
_NO_KEY: Final = -2


class PausedRedis:
    """A Redis whose keys do not change during the pause: no write, no expiry, no eviction."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._until = time.monotonic() + PAUSE_S
        client.client_pause(int(PAUSE_S * 1000), all=False)

    def dump(self, file: Path, report: StepReport) -> int:
        """Write all keys, and return their number.

        Raises:
            TransientError: Redis was too slow for one pause.
        """
        keys = 0
        with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
            for names in self._names():
                pipeline = self._client.pipeline(transaction=False)
                for name in names:
                    pipeline.pttl(name)
                    pipeline.dump(name)
                answers = pipeline.execute()
                rows = zip(names, answers[::2], answers[1::2], strict=True)
                kept = [row for row in rows if row[1] != _NO_KEY and row[2] is not None]
                columns = zip(*kept, strict=True) if kept else ((), (), ())
                writer.write_batch(pa.record_batch([*map(_column, columns, _SCHEMA)], schema=_SCHEMA))
                keys += len(kept)
                report(f"{keys:,} keys")
        if time.monotonic() > self._until:
            raise TransientError(
                f"Redis was not read within {PAUSE_S:g} s, the longest pause of its writes. Make the backup again when "
                "the machine has less to do."
            )
        return keys

    def _names(self) -> Iterator[list[bytes]]:
        cursor = 0
        while True:
            cursor, names = cast(tuple[int, list[bytes]], self._client.scan(cursor, count=_KEYS_AT_ONCE))
            if names:
                yield names
            if cursor == 0:
                return


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


def _column(values: Any, field: pa.Field) -> pa.Array:  # noqa: ANN401 - a column of any type
    return pa.array(list(values), field.type)
