"""The data folder of the local stack's Redis, across versions of its server."""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from gourmetgram_tools.local import ports
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.redis import Redis
from tests.support.waiting import wait_until

# `appendonly.aof` of Redis 6.2.14, which earlier versions ran: a snapshot of databases 0 and 5, then an increment.
REDIS_6_2 = base64.b64decode(
    "UkVESVMwMDA5+glyZWRpcy12ZXIGNi4yLjE0+gpyZWRpcy1iaXRzwED6BWN0aW1lwv64CGv6CHVzZWQtbWVtwggWDwD6DGFvZi1w"
    "cmVhbWJsZcAB/gD7AgH8ANjDLLsDAAANBnRvdGFscxQUAAAAEQAAAAIAAAV2aWV3cwf0/wwGd2luZG93GBgAAAAVAAAABAAAAWED"
    "AzEuNQUBYgPz//4F+wEAAAVvdGhlcgRrZXB0/wrntQArh2SQKjINCiQ2DQpTRUxFQ1QNCiQxDQowDQoqMQ0KJDUNCk1VTFRJDQoq"
    "Mg0KJDQNCklOQ1INCiQxNw0KYWZ0ZXItdGhlLXJld3JpdGUNCioxDQokNA0KRVhFQw0K"
)


@contextmanager
def running(server: Redis) -> Iterator[redis.Redis]:
    """The server as the stack runs it, and a client of its database 0."""
    server.prepare(lambda _detail: None)
    program = server.program()
    with subprocess.Popen(program.command, cwd=program.directory, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(server.healthy, what="the server's answer")
            with redis.Redis.from_url(server.url, decode_responses=True) as client:
                yield client
        finally:
            process.terminate()


def content(server: Redis) -> tuple[object, ...]:
    with (
        running(server) as client,
        redis.Redis.from_url(server.url.replace("/0", "/5"), decode_responses=True) as other,
    ):
        return (
            client.zrange("window", 0, -1, withscores=True),
            client.hgetall("totals"),
            client.expiretime("totals"),
            client.get("after-the-rewrite"),
            other.get("other"),
        )


def test_data_of_redis_6_2_is_taken_over(tmp_path: Path) -> None:
    layout = Layout("mine", tmp_path)
    server = Redis(layout, ports.choose_free().redis)
    file = layout.folder / "redis" / "appendonly.aof"
    file.parent.mkdir(parents=True)
    file.write_bytes(REDIS_6_2)
    expected = ([("a", 1.5), ("b", 2.0)], {"views": "3"}, 4_102_444_800, "1", "kept")
    assert content(server) == expected
    # The next start finds the new form, and nothing is counted twice.
    assert content(server) == expected


@pytest.mark.parametrize("lost", [1, 10])
def test_the_last_write_of_redis_6_2_may_be_cut_off(tmp_path: Path, lost: int) -> None:
    layout = Layout("mine", tmp_path)
    file = layout.folder / "redis" / "appendonly.aof"
    file.parent.mkdir(parents=True)
    file.write_bytes(REDIS_6_2[:-lost])
    with running(Redis(layout, ports.choose_free().redis)) as client:
        assert client.zcard("window") == 2
        assert client.get("after-the-rewrite") is None
