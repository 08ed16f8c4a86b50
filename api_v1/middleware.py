"""Wrapping of every request: an id, one log line, metrics, and limits on the body.

Plain ASGI: Starlette's BaseHTTPMiddleware costs a task and two queues per request.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from typing import Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_v1.errors import TooLargeError, unavailable
from api_v1.metrics import REQUEST_SECONDS, REQUESTS
from api_v1.responses import json_response
from gourmetgram.errors import OutcomeUnknownError, TransientError

request_log = logging.getLogger("gourmetgram.requests")

_NO_ANSWER: Final = 500
"""Status of a request whose handling failed before it answered."""

JSON_LIMIT_BYTES: Final = 64 * 1024
"""Largest body of a request that is not an upload."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_READING_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_KNOWN_METHODS: Final = frozenset(("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"))


class Observe:
    """Gives each request an id (a well-formed X-Request-ID of the client), logs it in one line, and counts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        status = _NO_ANSWER

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The server stops, and cancels the requests that take longer than its grace.
            if status != _NO_ANSWER:
                raise
            error = TransientError if scope["method"] in _READING_METHODS else OutcomeUnknownError
            await unavailable(scope, error("the service is stopping"))(scope, receive, send_with_id)
        finally:
            _record(scope, request_id, status, time.perf_counter() - began)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.fullmatch(value) else uuid.uuid4().hex
    return uuid.uuid4().hex


def _record(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "unmatched")
    # Few label values: a client may invent methods.
    method = scope["method"] if scope["method"] in _KNOWN_METHODS else "other"
    REQUESTS.labels(method, route, status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    if request_log.isEnabledFor(logging.INFO):
        client = scope.get("client")
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": request_id,
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 2),
        }
        # JSON escapes characters that a client could use to forge lines.
        request_log.info("%s", orjson.dumps(line).decode())


class BodyLimit:
    """Refuses large bodies: by their announced length before anything is read, else while reading.

    Args:
        app: the application to protect.
        limits: path -> most bytes; other paths take JSON_LIMIT_BYTES.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], JSON_LIMIT_BYTES)
        announced = _announced_length(scope)
        if announced is None:
            await self._app(scope, _limited(receive, limit), send)
        elif announced > limit:
            # The server discards what the client still sends.
            await json_response({"detail": _sentence(limit)}, TooLargeError.status)(scope, receive, send)
        else:
            # The server passes on no more bytes than were announced.
            await self._app(scope, receive, send)


def _announced_length(scope: Scope) -> int | None:
    """Content-Length; 0 without a body; None when the length is unknown before reading."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
        if name == b"transfer-encoding":
            length = None
    return length


def _limited(receive: Receive, limit: int) -> Receive:
    read = 0

    async def receive_limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise TooLargeError(_sentence(limit))
        return message

    return receive_limited


def _sentence(limit: int) -> str:
    return f"The body is larger than the {limit} bytes that this path takes."
