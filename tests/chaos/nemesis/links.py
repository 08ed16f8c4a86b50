"""Links: proxies between the services and their servers, each of which can be cut, silent or slow."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

from gourmetgram_tools.local.stack import Stack
from tests.support.proxy import Proxy

LINKED: Final = ("postgres", "redis", "kafka", "minio")
"""Servers behind a link."""

_SLOW_S: Final = 0.15
_CALL_S: Final = 30.0


class Links:
    """Proxies by the name of their server, in an event loop of their own; methods may be called from any thread."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._proxies = {name: Proxy("127.0.0.1", port) for name, port in ports.items()}

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Forward connections until the block ends."""
        self._thread.start()
        try:
            for proxy in self._proxies.values():
                self._wait(proxy.start())
            yield self
        finally:
            for proxy in self._proxies.values():
                self._wait(proxy.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def port(self, server: str) -> int:
        """Port on 127.0.0.1 at which clients reach a server."""
        return self._proxies[server].port

    def cut(self, server: str) -> None:
        """Break all connections, and refuse new ones."""
        self._do(self._proxies[server].cut)

    def silence(self, server: str) -> None:
        """Hold all data; connections stay open."""
        self._do(self._proxies[server].silence)

    def slow(self, server: str) -> None:
        """Delay each piece of data by a good tenth of a second, in both directions."""
        self._do(lambda: setattr(self._proxies[server], "delay_s", _SLOW_S))

    def heal(self) -> None:
        """End all faults of all links."""
        for proxy in self._proxies.values():
            self._do(proxy.heal)

    def _do(self, act: Callable[[], None]) -> None:
        async def call() -> None:
            act()

        self._wait(call())

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)


def links_of(stack: Stack) -> Links:
    """Links to the servers of a stack that is not up yet."""
    return Links({name: getattr(stack.ports, name) for name in LINKED})


def route(stack: Stack, links: Links) -> None:
    """Let all services and programs of a stack go through the links from their next start on."""
    environment = stack.environment()
    for variable in ("DATABASE_URL", "PYICEBERG_CATALOG__GOURMETGRAM__URI"):
        address = environment[variable].replace(f":{stack.ports.postgres}/", f":{links.port('postgres')}/")
        stack.override(variable, address)
    for variable in ("S3_ENDPOINT_URL", "PYICEBERG_CATALOG__GOURMETGRAM__S3__ENDPOINT"):
        stack.override(variable, f"http://127.0.0.1:{links.port('minio')}")
    stack.override("REDIS_PORT", str(links.port("redis")))
    # The broker names this address to its clients.
    stack.override("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{links.port('kafka')}")
