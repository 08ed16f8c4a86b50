"""Logs, metrics and the health endpoint of a worker."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

LOG_FORMAT: Final = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"

log = logging.getLogger(__name__)


def configure_logging(level: str) -> None:
    """Log to standard error in the lab's format, times in UTC."""
    # The format shows neither caller nor thread nor process. Without their lookup, a line costs half, and workers write
    # several lines a record (see "Optimization" in the documentation of `logging`).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(_UtcFormatter(LOG_FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _UtcFormatter(logging.Formatter):
    """Formats times as `2026-01-31 23:59:59,123`, and each second only once."""

    _last = (-1, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        second, text = self._last
        if second != int(record.created):
            second = int(record.created)
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
            # One assignment: another thread sees both values or neither.
            self._last = (second, text)
        return f"{text},{int(record.msecs):03d}"


class ProgressWatch:
    """Detects pending work that does not move, whatever the cause.

    Args:
        limit_s: longest time that one kind of work may wait without moving, seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting: dict[Hashable, tuple[object, float]] = {}

    def look(self, waiting: Mapping[Hashable, object]) -> None:
        """Take the state of all pending work.

        Args:
            waiting: each kind of pending work, and its progress. Finished work is left out.
        """
        now, before = time.monotonic(), self._waiting
        # Replaced as a whole: the health thread reads it.
        self._waiting = {
            name: before[name] if name in before and before[name][0] == done else (done, now)
            for name, done in waiting.items()
        }

    def moving(self) -> bool:
        """True if all pending work has moved within the limit."""
        oldest = min((since for _, since in self._waiting.values()), default=None)
        return oldest is None or time.monotonic() - oldest < self._limit_s


HealthCheck = Callable[[], bool]
"""Answers at once, from memory: a health request must not wait for a server that is away."""


class HealthServer:
    """`GET /health` and `GET /metrics` of a worker, served by a daemon thread.

    `/health` answers 200 `{"status": "healthy", "checks": {...}}` when all checks hold, else 503 and `unhealthy`.

    Args:
        host: address to bind.
        port: port to bind; 0 takes a free one (see `port`).
        checks: name of each condition, and its check.
        details: more facts for people, without effect on the status.
    """

    def __init__(
        self,
        host: str,
        port: int,
        checks: Mapping[str, HealthCheck],
        details: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(checks, details or {}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start the server."""
        self._thread.start()
        log.info("Health and metrics are served on port %d", self.port)

    def stop(self) -> None:
        """Stop answering and release the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler(
    checks: Mapping[str, HealthCheck], details: Mapping[str, Callable[[], object]]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                results = {name: check() for name, check in checks.items()}
                healthy = all(results.values())
                more = {name: detail() for name, detail in details.items()}
                body = orjson.dumps({"status": "healthy" if healthy else "unhealthy", "checks": results, **more})
                self._answer(200 if healthy else 503, "application/json", body)
            elif self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            else:
                self._answer(404, "application/json", b'{"detail":"try /health or /metrics"}')

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    return Handler
