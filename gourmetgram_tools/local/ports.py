"""Ports of a stack's parts, and the holder of a port that is taken."""

import random
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields

import psutil

# Below the range of source ports of outgoing connections (32768 and up on Linux, 49152 elsewhere), so that a free port
# is not taken between two starts.
_FREE_RANGE = range(20_000, 32_000)
_CONNECT_S = 2.0


@dataclass(frozen=True)
class Ports:
    """Port plan of a stack. The defaults are the ports that the lab publishes."""

    api: int = 8000
    postgres: int = 5432
    redis: int = 6379
    kafka: int = 19092
    kafka_controller: int = 19093
    minio: int = 9000
    minio_console: int = 9001
    stream_consumer: int = 9101
    risk_scoring_service: int = 9102
    data_generator: int = 9103
    airflow: int = 8080
    airflow_scheduler: int = 8974
    jupyter: int = 8888
    mlflow: int = 5000


@dataclass(frozen=True)
class Holder:
    """Process that listens on a port; its id is None when the system hides it (another user's process)."""

    pid: int | None
    name: str

    def __str__(self) -> str:
        """Name and process id, for display."""
        return f"{self.name} (process {self.pid})" if self.pid else self.name


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Like servers: closed connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    # macOS gives 127.0.0.1 to a program beside another one on all addresses; only a connection shows that.
    return not listens(host, port)


def listens(host: str, port: int) -> bool:
    """Return whether a connection to a port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def holder(port: int) -> Holder:
    """Find the process that listens on a port."""
    for listening, pid in _listeners():
        if listening == port:
            try:
                return Holder(pid, psutil.Process(pid).name())
            except psutil.Error:
                break
    return Holder(None, "another program")


def _listeners() -> Iterator[tuple[int, int]]:
    """Ports on which processes listen, with their process ids as far as the system shows them."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid:
                yield connection.laddr.port, connection.pid
    except psutil.AccessDenied:  # macOS shows only the caller's own processes, one by one
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                for own in process.net_connections(kind="tcp"):
                    if own.status == psutil.CONN_LISTEN and own.laddr:
                        yield own.laddr.port, process.pid


def choose_free(taken: Collection[int] = ()) -> Ports:
    """Choose a port plan of free ports.

    Args:
        taken: ports to leave out even if free now, such as those of other stacks.
    """
    names = [field.name for field in fields(Ports)]
    candidate = random.choice(_FREE_RANGE)
    chosen: list[int] = []
    while len(chosen) < len(names):
        candidate = candidate + 1 if candidate + 1 in _FREE_RANGE else _FREE_RANGE.start
        if candidate not in taken and is_free(candidate):
            chosen.append(candidate)
    return Ports(**dict(zip(names, chosen, strict=True)))
