"""The proxy with faults, in front of a server that answers each line with the same line."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Proxy, proxy_to, through
from tests.support.waiting import wait_until_async

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that keeps the lines it got.

    Attributes:
        lines: all lines, in their order.
        ended: connections that clients ended.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines.append(line)
            writer.write(line)
        self.ended += 1
        writer.close()


@pytest.fixture
def echo() -> Echo:
    """Bytes that the server behind the proxy got."""
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    """A proxy to the server, without a fault."""
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with proxy_to(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}") as running:
        yield running
    server.close()


@contextlib.asynccontextmanager
async def client_of(proxy: Proxy) -> AsyncIterator[Streams]:
    """A connection through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.transport.abort()


async def ask(streams: Streams, line: bytes) -> bytes:
    """Send a line and return its answer; nothing after a broken connection."""
    reader, writer = streams
    writer.write(line)
    try:
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b""


async def received(echo: Echo, line: bytes) -> None:
    """Wait until the server has got a line."""

    async def arrived() -> bool:
        return line in echo.lines

    await wait_until_async(arrived, what=f"line {line!r}")


async def test_data_passes_in_both_directions_whatever_its_size(proxy: Proxy) -> None:
    async with client_of(proxy) as first, client_of(proxy) as second:
        assert await ask(first, b"hello\n") == b"hello\n"
        assert await ask(second, b"x" * 50_000 + b"\n") == b"x" * 50_000 + b"\n"
    assert proxy.connections == 2


async def test_the_end_of_a_client_reaches_the_server_and_its_last_answer_the_client(proxy: Proxy, echo: Echo) -> None:
    async with client_of(proxy) as (reader, writer):
        writer.write(b"last\n")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b"last\n"
    assert echo.ended == 1


async def test_a_cut_breaks_what_is_open_and_refuses_what_is_new_until_it_is_healed(proxy: Proxy, echo: Echo) -> None:
    async with client_of(proxy) as old:
        assert await ask(old, b"before\n") == b"before\n"
        proxy.cut()
        assert await ask(old, b"lost\n") == b""
        with contextlib.suppress(ConnectionError):
            async with client_of(proxy) as refused:
                assert await ask(refused, b"refused\n") == b""
    proxy.heal()
    async with client_of(proxy) as new:
        assert await ask(new, b"after\n") == b"after\n"
    assert echo.lines == [b"before\n", b"after\n"]


async def test_silence_holds_data_and_healing_delivers_it(proxy: Proxy, echo: Echo) -> None:
    async with client_of(proxy) as streams:
        assert await ask(streams, b"before\n") == b"before\n"
        proxy.silence()
        answer = asyncio.create_task(ask(streams, b"held\n"))
        await asyncio.sleep(0)
        assert b"held\n" not in echo.lines
        proxy.heal()
        assert await answer == b"held\n"


async def test_a_delay_holds_each_piece_for_its_time(proxy: Proxy) -> None:
    proxy.delay_s = 0.05
    async with client_of(proxy) as streams:
        began = time.monotonic()
        assert await ask(streams, b"slow\n") == b"slow\n"
        # A lower bound: a busy machine only makes it longer.
        assert time.monotonic() - began >= 0.1


async def test_a_fault_begins_when_a_pattern_was_sent_and_the_server_gets_it_but_the_client_no_answer(
    proxy: Proxy, echo: Echo
) -> None:
    happened = proxy.once_sent(b"COMMIT", proxy.cut)
    async with client_of(proxy) as streams:
        assert await ask(streams, b"BEGIN\n") == b"BEGIN\n"
        assert not happened.is_set()
        assert await ask(streams, b"COMMIT now\n") == b""
    assert happened.is_set()
    await received(echo, b"COMMIT now\n")
    with contextlib.suppress(ConnectionError):
        async with client_of(proxy) as refused:
            assert await ask(refused, b"refused\n") == b""


async def test_a_pattern_is_found_although_it_arrives_in_pieces(proxy: Proxy) -> None:
    happened = proxy.once_sent(b"COMMIT", proxy.cut)
    async with client_of(proxy) as streams:
        assert await ask(streams, b"first\nCOM") == b"first\n"
        assert not happened.is_set()
        assert await ask(streams, b"MIT\n") == b""
    assert happened.is_set()


async def test_a_fault_can_begin_before_the_server_gets_the_pattern(proxy: Proxy, echo: Echo) -> None:
    proxy.before_sending(b"COMMIT", proxy.cut)
    async with client_of(proxy) as streams:
        assert await ask(streams, b"BEGIN\n") == b"BEGIN\n"
        assert await ask(streams, b"COMMIT\n") == b""

    async def ended() -> bool:
        return echo.ended == 1

    await wait_until_async(ended, what="the end of the connection")
    assert echo.lines == [b"BEGIN\n"]


async def test_a_fault_happens_once_and_not_again_after_healing(proxy: Proxy) -> None:
    proxy.once_sent(b"COMMIT", proxy.cut)
    async with client_of(proxy) as first:
        assert await ask(first, b"COMMIT\n") == b""
    proxy.heal()
    async with client_of(proxy) as second:
        assert await ask(second, b"COMMIT\n") == b"COMMIT\n"


async def test_a_server_that_is_away_looks_like_a_cut(echo: Echo) -> None:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with proxy_to(f"tcp://127.0.0.1:{port}") as proxy, client_of(proxy) as streams:
        assert await ask(streams, b"nobody\n") == b""


async def test_a_connection_that_the_server_breaks_breaks_for_the_client(proxy: Proxy, echo: Echo) -> None:
    async with client_of(proxy) as (reader, writer):
        writer.write(b"x" * 100_000 + b"\n")  # longer than the server's limit of a line: its handler fails
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_url_keeps_all_but_its_address(proxy: Proxy) -> None:
    url = through(proxy, "postgresql://me:se%40cret@db:5432/data?a=b")
    assert url == f"postgresql://me:se%40cret@127.0.0.1:{proxy.port}/data?a=b"
    assert through(proxy, "http://minio:9000") == f"http://127.0.0.1:{proxy.port}"
