"""History of the clients: each request that was sent, and how it ended for the client."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpx

NOT_STORED: Final = "Nothing was stored"
"""Words of a 503 after which the request has left no trace."""


class Kind(StrEnum):
    """Kinds of writes."""

    USER = "user"
    UPLOAD = "upload"
    VIEW = "view"
    COMMENT = "comment"
    FLAG = "flag"


class Outcome(StrEnum):
    """Ends of a request, as its client knows them."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    BROKEN = "broken"
    """An answer that the platform never gives, such as a 500."""


@dataclass(frozen=True)
class Operation:
    """One request.

    Attributes:
        kind: its kind.
        key: text of its own that the row holds; of a view, the id of its image.
        outcome: its end for the client.
        detail: status and text of an answer, or the name of the error.
        row_id: id in the answer; empty without one, and of a view.
    """

    kind: Kind
    key: str
    outcome: Outcome
    detail: str
    row_id: str = ""


def outcome_of(result: httpx.Response | httpx.HTTPError) -> Outcome:
    """End of a request for its client.

    Args:
        result: the answer, or the error of the connection.
    """
    if isinstance(result, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Outcome.REFUSED  # nothing was sent
    if isinstance(result, httpx.HTTPError):
        return Outcome.UNKNOWN
    if result.status_code == httpx.codes.OK:
        return Outcome.ACKNOWLEDGED
    if result.is_client_error:
        return Outcome.REFUSED
    if result.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return Outcome.REFUSED if NOT_STORED in result.text else Outcome.UNKNOWN
    return Outcome.BROKEN


class History:
    """Operations of all clients; safe to be written by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self._counts: Counter[Outcome] = Counter()

    def add(self, operation: Operation) -> None:
        """Append an operation that ended."""
        with self._lock:
            self._operations.append(operation)
            self._counts[operation.outcome] += 1

    def __iter__(self) -> Iterator[Operation]:
        with self._lock:
            return iter(tuple(self._operations))

    def count(self, outcome: Outcome) -> int:
        """Number of operations with this end."""
        return self._counts[outcome]
