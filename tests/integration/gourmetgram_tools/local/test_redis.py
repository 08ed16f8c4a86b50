"""The data folder of the local stack's Redis, across versions of its server, and after a full disk."""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from gourmetgram_tools.local import ports
from gourmetgram_tools.local.append_only_file import cut_at_hole
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
            process.kill()


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


@pytest.fixture(name="small_disk")
def small_disk_fixture(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can make a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def rewrite(client: redis.Redis) -> None:
    """Let the server open a new append-only file."""
    client.bgrewriteaof()
    wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, what="the end of the rewrite")


def test_a_full_disk_leaves_a_hole_that_the_next_start_cuts_off(small_disk: Path) -> None:
    server = Redis(Layout("mine", small_disk), ports.choose_free().redis)
    with running(server) as client:
        rewrite(client)
        client.set("before", "1")
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
        client.set("too-large", bytes(100_000))
        wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "err", what="a failed write")
        filler.unlink()
        wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "ok", what="the next write")
        client.set("after", "1")
        wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0, what="the file")
    with running(server) as client:
        assert client.get("before") == "1"
        client.set("after", "2")
    with running(server) as client:
        assert client.get("after") == "2"


@pytest.mark.parametrize("zeros", [1, 5_000])
def test_nothing_behind_a_hole_counts(tmp_path: Path, zeros: int) -> None:
    layout = Layout("mine", tmp_path)
    server = Redis(layout, ports.choose_free().redis)
    with running(server) as client:
        client.set("before", b"\r\n\0 is a value, no hole")
    folder = layout.folder / "redis" / "appendonlydir"
    (first,) = folder.glob("*.incr.aof")
    whole = first.read_bytes()
    command = b"*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n1\r\n"
    assert cut_at_hole(layout.folder / "redis") == 0
    first.write_bytes(whole + bytes(zeros) + command)
    later = folder / "appendonly.aof.2.incr.aof"
    later.write_bytes(command)
    manifest = folder / "appendonly.aof.manifest"
    manifest.write_text(manifest.read_text() + f"file {later.name} seq 2 type i\n")
    assert cut_at_hole(layout.folder / "redis") == zeros + 2 * len(command)
    with running(server) as client:
        assert (client.exists("before"), client.exists("after")) == (1, 0)
