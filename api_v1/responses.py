"""Answers are built as bytes: nothing is validated or copied on the way out."""

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from gourmetgram.database.pool import DatabaseRow


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer from anything orjson can write; times become ISO-8601 with offset."""
    return Response(orjson.dumps(body), status, headers, "application/json")


def record_response(record: DatabaseRow) -> Response:
    """An answer from a database record: its columns are the fields."""
    return json_response(dict(record))
