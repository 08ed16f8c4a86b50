"""Errors of the API: each has a status and a sentence, and one place turns them into answers."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from api_v1.responses import json_response
from gourmetgram.errors import OutcomeUnknownError, PlatformError, TransientError

log = logging.getLogger(__name__)

_MAX_PROBLEMS = 20
_MAX_NAME_LENGTH = 100
_NOTHING_STORED = "A store is not available or too slow. Nothing was stored; please try again."
_OUTCOME_UNKNOWN = (
    "A store, or the API itself, stopped during the request. It is not known whether the change was stored; "
    "please check before you try again."
)
_SENTENCES = {404: "There is no such path.", 405: "This path does not take this method."}


class ApiError(PlatformError):
    """The request cannot be fulfilled; nothing was stored."""

    status = 400


class TargetMissingError(ApiError):
    """A flag without a target."""


class NotFoundError(ApiError):
    """Something the request names does not exist, or no longer."""

    status = 404


class TooLargeError(ApiError):
    """The body is larger than allowed."""

    status = 413


class NotAnImageError(ApiError):
    """The file is no JPEG, PNG or WebP that can be decoded."""

    status = 415


class InvalidInputError(ApiError):
    """The input has a wrong form.

    Args:
        problems: one per wrong field: `loc` (where), `msg` (a sentence), `type`.
    """

    status = 422

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(problem["msg"] for problem in problems))
        self.problems = problems

    @classmethod
    def at(cls, location: str, sentence: str) -> "InvalidInputError":
        """One problem with one thing."""
        return cls([{"loc": ["body", location] if location else ["body"], "msg": sentence, "type": "value_error"}])

    @classmethod
    def in_path(cls, name: str, sentence: str) -> "InvalidInputError":
        """A path parameter of a wrong form."""
        return cls([{"loc": ["path", name], "msg": sentence, "type": "value_error"}])

    @classmethod
    def from_validation(cls, error: ValidationError) -> "InvalidInputError":
        """Errors that pydantic found in a body."""
        return cls(_problems(error.errors(include_url=False, include_context=False, include_input=False), ("body",)))


def add_error_handlers(app: FastAPI) -> None:
    """Register the answer to each kind of error."""
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(TransientError, _answer_unavailable)
    app.add_exception_handler(RequestValidationError, _answer_invalid_parameters)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)


def answer_to(error: ApiError) -> Response:
    """The answer to a request that is refused."""
    detail = error.problems if isinstance(error, InvalidInputError) else str(error)
    return json_response({"detail": detail}, error.status)


async def _answer_api_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return answer_to(error)


def unavailable(scope: Scope, error: Exception) -> Response:
    """Answer 503. `Retry-After` stands only where nothing was stored, so that a repetition stores nothing twice."""
    # The cause is for the operator; a client learns only whether it may try again.
    log.warning("503 for request %s: %s", scope.get("request_id", "-"), error)
    if isinstance(error, OutcomeUnknownError):
        return json_response({"detail": _OUTCOME_UNKNOWN}, 503)
    return json_response({"detail": _NOTHING_STORED}, 503, {"Retry-After": "1"})


async def _answer_unavailable(request: Request, error: Exception) -> Response:
    return unavailable(request.scope, error)


async def _answer_invalid_parameters(_request: Request, error: Exception) -> Response:
    problems = _problems(error.errors(), ()) if isinstance(error, RequestValidationError) else []
    return json_response({"detail": problems}, 422)


async def _answer_http_exception(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    sentence = _SENTENCES.get(error.status_code, str(error.detail))
    return json_response({"detail": sentence}, error.status_code, error.headers)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    # The client is gone: the status is for the log line only.
    return json_response({"detail": "The body ended before it was complete."}, 400)


def _problems(errors: Sequence[Any], prefix: tuple[str, ...]) -> list[dict[str, Any]]:
    """Pydantic's errors without the client's values, which may be huge, secret, or not even text."""
    return [
        {
            "loc": [part if isinstance(part, int) else _plain(part) for part in (*prefix, *error["loc"])],
            "msg": error["msg"],
            "type": error["type"],
        }
        for error in errors[:_MAX_PROBLEMS]
    ]


def _plain(name: str) -> str:
    """A field's name as the client wrote it, fit for JSON."""
    return name[:_MAX_NAME_LENGTH].encode("utf-8", "backslashreplace").decode()
