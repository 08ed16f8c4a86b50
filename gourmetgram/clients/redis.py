"""The Redis client of workers and tools."""

from typing import Final, NamedTuple

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from gourmetgram.settings import RedisSettings


class RedisDeadlines(NamedTuple):
    """Time-outs of one attempt, and the number of repetitions.

    Attributes:
        connect_s: seconds until a connection must stand.
        answer_s: seconds until a command must be answered.
        retries: repetitions after a failed attempt.
    """

    connect_s: float
    answer_s: float
    retries: int


WORKER: Final = RedisDeadlines(1, 2, 0)
"""For loops that repeat a failed step: a second layer of retries would only delay other work."""

TOOL: Final = RedisDeadlines(5, 10, 3)
"""For commands that read a whole data set once and end at the first failure."""


def connect(settings: RedisSettings, deadlines: RedisDeadlines, *, decode_responses: bool = False) -> Redis:
    """Build a client; it connects with the first command. Close it with `close()`.

    Args:
        settings: address, login and number of the database.
        deadlines: `WORKER` or `TOOL`.
        decode_responses: return texts instead of bytes.
    """
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        username=settings.redis_username or None,
        password=settings.redis_password or None,
        ssl=settings.redis_tls,
        ssl_ca_certs=settings.redis_ca_location or None,
        decode_responses=decode_responses,
        socket_connect_timeout=deadlines.connect_s,
        socket_timeout=deadlines.answer_s,
        retry=Retry(ExponentialWithJitterBackoff(), deadlines.retries),
    )
