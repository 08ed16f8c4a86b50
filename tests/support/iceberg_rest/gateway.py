"""A provider's gateway in front of Iceberg's REST server: TLS, a login, the name of the warehouse; and faults."""

import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.secured.certificates import Certificate

CLIENT, SECRET, TOKEN = "gourmetgram", "a-secret-of-tests", "a-token-of-tests"
WAREHOUSE = "lab"
_CHECKED_FORM = {"grant_type": ["client_credentials"], "client_id": [CLIENT], "client_secret": [SECRET]}


class Gateway(ThreadingHTTPServer):
    """Forwards the requests of a client that has logged in.

    Args:
        port: port of the server behind it.
        certificate: its certificate.

    Attributes:
        requests: method and path of each request that was forwarded.
    """

    daemon_threads = True

    def __init__(self, port: int, certificate: Certificate) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = port
        self.requests: list[str] = []
        self._faults: list[tuple[re.Pattern[str], bool, Callable[[], None]]] = []
        self._lock = Lock()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate.certificate, certificate.key)

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"https://localhost:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its thread speaks TLS."""
        connection, address = super().get_request()
        secured = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return secured, address

    def handle_error(self, _request: Any, _address: Any) -> None:
        """Connections of clients without trust break, as they should."""

    def once(self, request: str, fault: Callable[[], None], *, after: bool = True) -> None:
        """Call a function at the next request that matches.

        Args:
            request: pattern of its method and path.
            fault: may raise `AnswerLostError`.
            after: True = after the server has answered; False = before it gets the request.
        """
        with self._lock:
            self._faults.append((re.compile(request), after, fault))

    def begin_fault(self, request: str, *, after: bool) -> None:
        """Call the function of the first fault that matches, and forget it."""
        with self._lock:
            found = next((each for each in self._faults if each[0].search(request) and each[1] == after), None)
            if found:
                self._faults.remove(found)
        if found:
            found[2]()

    @property
    def faults_left(self) -> int:
        """Number of faults that wait for their request."""
        return len(self._faults)


class AnswerLostError(Exception):
    """Ends the connection of a request without an answer."""


def lose_answer() -> None:
    """Fault: the client gets no answer."""
    raise AnswerLostError


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        if parts.path == "/v1/oauth/tokens":
            self._log_in(parse_qs(body.decode()))
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "NotAuthorizedException", "Not authorized")
        elif parts.path == "/v1/config" and parse_qs(parts.query).get("warehouse") != [WAREHOUSE]:
            self._refuse(404, "NoSuchWarehouseException", "Warehouse does not exist")
        else:
            self._forward(body)

    do_GET = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - names of the library

    def _log_in(self, form: dict[str, list[str]]) -> None:
        if _CHECKED_FORM.items() <= form.items():
            self._answer(200, {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600})
        else:
            self._answer(401, {"error": "invalid_client", "error_description": "Credentials given were invalid"})

    def _refuse(self, status: int, kind: str, message: str) -> None:
        self._answer(status, {"error": {"message": message, "type": kind, "code": status}})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _forward(self, body: bytes) -> None:
        request = f"{self.command} {self.path}"
        self.server.requests.append(request)
        kept = {name: self.headers[name] for name in ("Content-Type",) if name in self.headers}
        connection = HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        try:
            self.server.begin_fault(request, after=False)
            connection.request(self.command, self.path, body, kept)
            answer = connection.getresponse()
            content = answer.read()
            self.server.begin_fault(request, after=True)
            self._send(answer.status, content, answer.headers.get("Content-Type", "application/json"))
        except AnswerLostError:
            self.close_connection = True
        except OSError:
            self._refuse(503, "ServiceUnavailableException", "The server behind the gateway is away")
        finally:
            connection.close()

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Print nothing."""


@contextmanager
def running_gateway(port: int, certificate: Certificate) -> Iterator[Gateway]:
    """A gateway until the end of the block; arguments are those of `Gateway`."""
    with Gateway(port, certificate) as gateway:
        thread = Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield gateway
        finally:
            gateway.shutdown()
            thread.join()
