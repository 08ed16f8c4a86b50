"""The HTTP server of an API: one process, or several that share one port (`API_WORKERS`).

uvicorn's supervisor opens the port, starts the processes, replaces one that ends, and passes SIGTERM on. Each process
is a complete API with its own writers. They share no memory: PostgreSQL orders their writes, its advisory lock selects
the one relay, and files in a temporary folder hold the metrics of all (`metrics.py`).
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

import uvicorn

from api_v1.settings import ApiSettings
from gourmetgram.errors import SettingsError
from gourmetgram.settings import pass_to_children

_GRACE_S: Final = 2
_KEEP_ALIVE_S: Final = 75
"""Longer than clients keep an idle connection (httpx: 5 s, uvicorn's own default), so that the client closes it.
Otherwise, a request may go into a connection that the server is just closing."""

SettingsClass = TypeVar("SettingsClass", bound=ApiSettings)


def load_settings(package: str, of: type[SettingsClass]) -> SettingsClass:
    """Settings of an API.

    Raises:
        SystemExit: a setting is wrong; the message is one sentence instead of a trace.
    """
    try:
        return of.load()
    except SettingsError as error:
        raise SystemExit(f"{package} cannot start: {error}") from None


def main(package: str, of: type[ApiSettings], arguments: Sequence[str] | None = None) -> None:
    """Serve `<package>.main:app` until SIGTERM or SIGINT.

    Args:
        package: `api_v1` or `api_v2`.
        of: class of its settings.
        arguments: command line without the program's name; None = that of this process.

    Raises:
        SystemExit: a setting is wrong, or the port cannot be opened.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description="Serve the API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    workers = load_settings(package, of).api_workers
    if workers == 1:
        _serve(package, options.host, options.port, workers)
        return
    with TemporaryDirectory(prefix=f"{package}-metrics-") as folder:
        # The client library reads it when it is imported, which only the processes do that serve.
        pass_to_children({"PROMETHEUS_MULTIPROC_DIR": folder})
        _serve(package, options.host, options.port, workers)


def _serve(package: str, host: str, port: int, workers: int) -> None:
    uvicorn.run(
        f"{package}.main:app",
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )


def end_with_supervisor() -> None:
    """Stop this process as by SIGTERM when the supervisor that started it ends.

    A supervisor that was killed cannot stop its processes: they would keep the port. A process without a supervisor
    is left alone.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def follow(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, args=(supervisor.sentinel,), name="supervisor", daemon=True).start()
