"""Ports of a stack's parts, and the holder of a port that is taken."""

import random
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields

import psutil

# Below the range from which operating systems take the source ports of outgoing connections (32768 and up on
# Linux, 49152 elsewhere), so that a free port does not become taken between two starts.
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


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port; its id is None when the system does not tell (another user's process)."""

    pid: int | None
    name: str

    def __str__(self) -> str:
        """Name and process id, as a person would look for them."""
        return f"{self.name} (process {self.pid})" if self.pid else self.name


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that are only waiting to be forgotten do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    # macOS lets a program have 127.0.0.1 beside another one that listens on all addresses: only a connection shows it.
    return not listens(host, port)


def listens(host: str, port: int) -> bool:
    """Tell whether a connection to a port is accepted."""
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
    """Ports on which processes listen, and their process ids, as far as the system tells them."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid:
                yield connection.laddr.port, connection.pid
    except psutil.AccessDenied:  # macOS tells only about one's own processes, one by one
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                for own in process.net_connections(kind="tcp"):
                    if own.status == psutil.CONN_LISTEN and own.laddr:
                        yield own.laddr.port, process.pid


def choose_free(taken: Collection[int] = ()) -> Ports:
    """Choose a port plan of free ports.

    Args:
        taken: ports to leave out even if free now: those of other stacks.
    """
    names = [field.name for field in fields(Ports)]
    candidate = random.choice(_FREE_RANGE)
    chosen: list[int] = []
    while len(chosen) < len(names):
        candidate = candidate + 1 if candidate + 1 in _FREE_RANGE else _FREE_RANGE.start
        if candidate not in taken and is_free(candidate):
            chosen.append(candidate)
    return Ports(**dict(zip(names, chosen, strict=True)))
