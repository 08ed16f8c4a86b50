"""The docs page, with all its files, and its OpenAPI description.

Hot routes read their bodies themselves, so FastAPI cannot describe them: their descriptions are here. Examples name
rows that exist, so "Try it out" works unchanged.
"""

import asyncio
from typing import Any, Final

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.models import Example
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from api_v1.schemas import EXAMPLE_COMMENT_ID, EXAMPLE_IMAGE_ID, EXAMPLE_USER_ID, InputProblems, Problem
from api_v1.services import services_of
from gourmetgram.database.pool import Database, deadline_after
from gourmetgram.errors import TransientError

router = APIRouter(include_in_schema=False)

FILES_PATH: Final = "/docs-files"
"""Path of the docs page's script, style and icon: a classroom's network may reach no CDN."""

IMAGE_ID_EXAMPLES: Final[dict[str, Example]] = {"an image": {"value": EXAMPLE_IMAGE_ID}}

_INVALID: Final = 422
_WAIT_S = 0.5
_NEWEST_IDS: Final = """
SELECT (SELECT id FROM users ORDER BY created_at LIMIT 1)::text AS user_id,
       i.id::text AS image_id,
       c.id::text AS comment_id
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (SELECT id FROM images WHERE deleted_at IS NULL ORDER BY created_at DESC LIMIT 1) AS i ON TRUE
LEFT JOIN LATERAL (
    SELECT id FROM comments WHERE image_id = i.id AND deleted_at IS NULL AND NOT moderator_hidden LIMIT 1
) AS c ON TRUE
"""
_MEANINGS: Final = {
    400: "A flag without a target",
    404: "An unknown user, image or comment, or a deleted one",
    409: "A request with the same Idempotency-Key is in progress",
    413: "The body is too large",
    415: "The file is no JPEG, PNG or WebP image that can be decoded",
    422: "A value breaks its rule",
    503: (
        "A store is not available or too slow. With `Retry-After`, nothing was stored and the request may be repeated. "
        "Without it, the outcome is unknown: the change may be stored, and `detail` says so"
    ),
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route."""
    return {
        status: {"model": InputProblems if status == _INVALID else Problem, "description": _MEANINGS[status]}
        for status in statuses
    }


def json_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Describe the JSON body of a route that reads it itself."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema(), "example": example}},
        }
    }


def image_id_parameter() -> dict[str, Any]:
    """Describe the image id of a path whose route reads it itself."""
    schema = {"type": "string", "format": "uuid"}
    parameter = {"name": "image_id", "in": "path", "required": True, "schema": schema, "examples": IMAGE_ID_EXAMPLES}
    return {"parameters": [parameter]}


def upload_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe the form of an upload: the model's fields and the file."""
    schema = model.model_json_schema()
    file = {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP"}
    schema["properties"] = {**schema["properties"], "file": file}
    schema["required"] = [*schema["required"], "file"]
    schema["example"] = {"user_id": EXAMPLE_USER_ID, "caption": "Homemade ramen", "category": "Noodles/Pasta"}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The description, its example ids replaced by those of rows that exist."""
    app: FastAPI = request.app
    text = orjson.dumps(app.openapi()).decode()
    for placeholder, actual in (await _existing_ids(services_of(request).database)).items():
        text = text.replace(placeholder, actual)
    return Response(text, media_type="application/json")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page to try out every endpoint."""
    # Relative addresses: the page works behind a proxy that serves it under another path, too.
    files = FILES_PATH.removeprefix("/")
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{request.app.title} - docs",
        swagger_js_url=f"{files}/swagger-ui-bundle.js",
        swagger_css_url=f"{files}/swagger-ui.css",
        swagger_favicon_url=f"{files}/favicon.png",
        # Without it, the page may send the description to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )


def page_files() -> StaticFiles:
    """Swagger UI's files, as the package fastapi-offline brings them."""
    return StaticFiles(packages=[("fastapi_offline", "static")])


async def _existing_ids(database: Database) -> dict[str, str]:
    try:
        async with asyncio.timeout(_WAIT_S):
            rows = await database.fetch(_NEWEST_IDS, deadline=deadline_after(_WAIT_S))
    except (TransientError, TimeoutError):
        # The page works without a database too.
        return {}
    found = {
        EXAMPLE_USER_ID: rows[0]["user_id"],
        EXAMPLE_IMAGE_ID: rows[0]["image_id"],
        EXAMPLE_COMMENT_ID: rows[0]["comment_id"],
    }
    return {placeholder: actual for placeholder, actual in found.items() if actual is not None}
