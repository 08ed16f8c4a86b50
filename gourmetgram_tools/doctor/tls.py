"""Look at a server's port as a client would: name, connection, TLS and certificate, without a login."""

import socket
import ssl
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

_CONNECT_S: Final = 5.0
_POSTGRES_ASKS_FOR_TLS: Final = bytes.fromhex("0000000804d2162f")
"""Message before TLS in PostgreSQL's protocol: its length, and the number of this request."""
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_HOST, _OTHER_IP = 62, 64


class Endpoint(NamedTuple):
    """A port, and the way in which the settings speak TLS there.

    Attributes:
        authority: PEM file of the authorities to trust; empty = those of the operating system.
        postgres: True = TLS begins after a message of PostgreSQL's protocol.
        checks_certificate: False = any certificate will do.
        checks_name: False = a certificate of another host will do.
    """

    host: str
    port: int
    tls: bool
    authority: str = ""
    postgres: bool = False
    checks_certificate: bool = True
    checks_name: bool = True


class Fault(Enum):
    """Fault of a port or of a certificate; the value describes it."""

    UNKNOWN_NAME = "this host name is not known"
    NO_ANSWER = "no program accepts a connection"
    NO_SUCH_FILE = "the file of the authorities cannot be read"
    UNTRUSTED = "its certificate is of an authority that is not trusted"
    OTHER_NAME = "its certificate is for another host name"
    EXPIRED = "its certificate has expired, or is not valid yet"
    NO_TLS = "the settings speak TLS, and the server does not on this port"

    @property
    def seen(self) -> str:
        """Description of the fault."""
        return self.value


def check_endpoint(endpoint: Endpoint) -> Fault | None:
    """Find the fault that keeps a client from its login; None = there is none."""
    try:
        context = _context(endpoint)
    except (OSError, ssl.SSLError):
        return Fault.NO_SUCH_FILE
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_CONNECT_S) as plain:
            return _handshake(plain, endpoint, context) if endpoint.tls else None
    except socket.gaierror:
        return Fault.UNKNOWN_NAME
    except OSError:
        return Fault.NO_ANSWER


def speaks_tls(endpoint: Endpoint) -> bool:
    """Return whether the server at a port speaks TLS, whatever its certificate."""
    return check_endpoint(endpoint._replace(tls=True, authority="", checks_certificate=False)) is None


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    if endpoint.authority and not Path(endpoint.authority).is_file():
        raise FileNotFoundError(endpoint.authority)
    context = ssl.create_default_context(cafile=endpoint.authority or None)
    context.check_hostname = endpoint.checks_certificate and endpoint.checks_name
    context.verify_mode = ssl.CERT_REQUIRED if endpoint.checks_certificate else ssl.CERT_NONE
    return context


def _handshake(plain: socket.socket, endpoint: Endpoint, context: ssl.SSLContext) -> Fault | None:
    try:
        if endpoint.postgres:
            plain.sendall(_POSTGRES_ASKS_FOR_TLS)
            if plain.recv(1) != b"S":
                return Fault.NO_TLS
        with context.wrap_socket(plain, server_hostname=endpoint.host):
            return None
    except ssl.SSLCertVerificationError as error:
        return _fault_of(error.verify_code)
    except (ssl.SSLError, TimeoutError, ConnectionError):
        # A server without TLS answers with its own protocol, closes, or waits for the rest of a message.
        return Fault.NO_TLS


def _fault_of(code: int) -> Fault:
    if code in (_EXPIRED, _NOT_YET_VALID):
        return Fault.EXPIRED
    if code in (_OTHER_HOST, _OTHER_IP):
        return Fault.OTHER_NAME
    return Fault.UNTRUSTED
