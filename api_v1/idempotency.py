"""The header Idempotency-Key: a client may repeat a request with the same key, and it is carried out once.

The header's form and the meaning of 409 and 422 are those of the IETF's draft "The Idempotency-Key HTTP Header Field"
(draft-ietf-httpapi-idempotency-key-header).
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from api_v1.keyed_writes import HEADER, Work, header_error
from api_v1.services import Services

LONGEST: Final = 255
"""Most characters of a key."""

_HEADER_BYTES: Final = HEADER.lower().encode()
_KEY: Final = re.compile(rb"[!-~]{1,%d}" % LONGEST)


async def once(
    request: Request, services: Services, work: Work, content: Iterable[bytes | str | None] | None = None
) -> Response:
    """Do the work of a route that writes; for requests with the same key, once.

    Args:
        request: its header may have a key.
        services: those of the application.
        work: the part of the route that writes.
        content: parts of the request that make it what it is, where two bodies of the same request differ; None = the
            body.

    Raises:
        ApiError, TransientError: see `KeyedWriter.answer_once`; a key that breaks its rule is 422.
    """
    key = _key_of(request)
    if key is None:
        return await work(services.shared_writes)
    parts = [await request.body()] if content is None else content
    return await services.keyed_writer.answer_once(key, _fingerprint(request, parts), work)


def keyed(description: dict[str, Any]) -> dict[str, Any]:
    """Add the header to a route's OpenAPI description."""
    parameter = {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": "A new UUID for each request. The same request with the same key is carried out once: for 24 "
        "hours, its answer is repeated.",
        "schema": {"type": "string", "maxLength": LONGEST, "pattern": "^[!-~]+$"},
    }
    return {**description, "parameters": [*description.get("parameters", ()), parameter]}


def _key_of(request: Request) -> str | None:
    found: bytes | None = None
    # Most requests have no key: this loop is all that they pay.
    for name, value in request.scope["headers"]:
        if name == _HEADER_BYTES:
            if found is not None:
                raise header_error("The request has more than one key.")
            found = value
    if found is None:
        return None
    # The draft puts the key into quotation marks; many clients do not.
    key = found.strip()
    if len(key) > 1 and key.startswith(b'"') and key.endswith(b'"'):
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise header_error(f"The key is not 1 to {LONGEST} visible ASCII characters.")
    return key.decode("ascii")


def _fingerprint(request: Request, parts: Iterable[bytes | str | None]) -> bytes:
    digest = hashlib.sha256()
    for part in (request.method, request.scope["path"], *parts):
        # A length before each part: no two lists of parts give the same bytes.
        data = b"" if part is None else part.encode() if isinstance(part, str) else part
        digest.update(f"{'-' if part is None else len(data)} ".encode() + data)
    return digest.digest()
