"""Reading JSON bodies: parsed once, strictly, and turned into a model or a 422."""

import asyncio
import json
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api_v1.errors import InvalidInputError
from gourmetgram.errors import TransientError

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, model: type[Model]) -> Model:
    """The request's body as a model.

    Raises:
        InvalidInputError: the body is not JSON in UTF-8, names a field twice, or does not fit the model.
        TransientError: the service stops before the body has arrived.
    """
    _require_json(request)
    try:
        return model.model_validate(_parse(await request.body()))
    except ValidationError as error:
        raise InvalidInputError.from_validation(error) from None
    except asyncio.CancelledError:
        raise TransientError("the service stops before the body has arrived") from None


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise InvalidInputError.at("", "The Content-Type must be application/json.")


def _parse(body: bytes) -> object:
    """Parse with Python's own parser, the only one that shows a field that comes twice. Bodies are small.

    Depth needs no rule here: every field of every model is a plain value, so any nested value is refused. Nesting that
    is too deep for the parser raises RecursionError.
    """
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidInputError.at("", "The body is not valid JSON in UTF-8.") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidInputError.at("", "The body names a field twice.")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
