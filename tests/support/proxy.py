"""A TCP proxy with faults, between a client and a server: for tests of lost answers and broken networks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_CHUNK_BYTES: Final = 64 * 1024

Fault = Callable[[], object]


class _Link:
    """One connection through the proxy: its two sides."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client = client
        self._server = server
        self.broken = False

    def cut(self) -> None:
        """Forward nothing more: the client sees a reset, the server the end of the stream."""
        if not self.broken:
            self.broken = True
            self._client.transport.abort()
            # Not an abort: what was forwarded must arrive.
            self._server.write_eof()

    def close(self) -> None:
        """Free both sides."""
        self._client.transport.abort()
        self._server.transport.abort()


class _Trigger(NamedTuple):
    """A fault that begins when a client has sent a pattern for the first time."""

    pattern: bytes
    fault: Fault
    before: bool
    happened: asyncio.Event


class Proxy:
    """Forwards connections to a server, byte by byte, until a fault is switched on.

    All methods but `start` and `stop` act at once, and belong to the event loop that started the proxy.

    Args:
        host: address of the server.
        port: port of the server.

    Attributes:
        delay_s: time for which each piece of data is held, in both directions, seconds.
        connections: number of connections that were accepted so far, those that a cut refused included.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._triggers: list[_Trigger] = []
        self._refuses = False
        self._passes = asyncio.Event()
        self._passes.set()
        self.delay_s = 0.0
        self.connections = 0

    @property
    def port(self) -> int:
        """Port on 127.0.0.1 to which clients connect."""
        assert self._listener is not None, "the proxy is not started"
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Break all connections, and free the port."""
        assert self._listener is not None, "the proxy is not started"
        self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections, and each new one at once, until `heal`.

        The server still gets what was forwarded before, and then the end of the stream. The client gets nothing more.
        """
        self._refuses = True
        for link in self._links:
            link.cut()

    def silence(self) -> None:
        """Hold all data in both directions until `heal`; connections stay open, as when a network loses packets."""
        self._passes.clear()

    def heal(self) -> None:
        """End every fault. Held data arrives; broken connections stay broken."""
        self._refuses = False
        self.delay_s = 0.0
        self._triggers.clear()
        self._passes.set()

    def once_sent(self, pattern: bytes, fault: Fault) -> asyncio.Event:
        """Begin a fault when a client has sent a pattern: after its data went to the server, before any answer.

        Args:
            pattern: bytes of a client's message; they may arrive in pieces.
            fault: `cut`, `silence`, or any other function that does not wait.

        Returns:
            An event that is set when the fault begins.
        """
        return self._add_trigger(pattern, fault, before=False)

    def before_sending(self, pattern: bytes, fault: Fault) -> asyncio.Event:
        """As `once_sent`, but the fault begins before the pattern's (last) piece of data goes to the server."""
        return self._add_trigger(pattern, fault, before=True)

    def _add_trigger(self, pattern: bytes, fault: Fault, *, before: bool) -> asyncio.Event:
        trigger = _Trigger(pattern, fault, before, asyncio.Event())
        self._triggers.append(trigger)
        return trigger.happened

    async def _accept(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refuses:
            client.transport.abort()
            return
        try:
            server_reader, server = await asyncio.open_connection(*self._target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._forward(link, client_reader, server, watched=True)),
            asyncio.create_task(self._forward(link, server_reader, client, watched=False)),
        ]
        self._tasks.update(pumps)
        await asyncio.gather(*pumps, return_exceptions=True)
        self._tasks.difference_update(pumps)
        self._links.discard(link)
        link.close()

    async def _forward(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watched: bool
    ) -> None:
        """Forward one direction until its end; a broken link is read on, so that the server can finish its answers."""
        seen = b""
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await asyncio.sleep(self.delay_s)
                seen = self._end_of(seen) + data if watched else b""
                self._begin(seen, before=True)
                await self._passes.wait()
                if not link.broken:
                    writer.write(data)
                    self._begin(seen, before=False)
                    await writer.drain()
            await self._passes.wait()
            if not link.broken:
                writer.write_eof()
        except OSError:
            if not link.broken:
                writer.transport.abort()

    def _begin(self, seen: bytes, *, before: bool) -> None:
        """Begin the faults whose pattern was seen."""
        for trigger in list(self._triggers):
            if trigger.before == before and trigger.pattern in seen and not trigger.happened.is_set():
                trigger.happened.set()
                trigger.fault()

    def _end_of(self, seen: bytes) -> bytes:
        """Return the end of the data, in which a pattern may have begun."""
        longest = max((len(trigger.pattern) for trigger in self._triggers), default=1)
        return seen[max(0, len(seen) - longest + 1) :] if longest > 1 else b""


@contextlib.asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A running proxy to the server of a URL, which must name the port."""
    address = urlsplit(url)
    assert address.hostname and address.port, f"{url} names no host and port"
    proxy = Proxy(address.hostname, address.port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


def through(proxy: Proxy, url: str) -> str:
    """The URL of a server, with the proxy's address instead of the server's."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{proxy.port}").geturl()
