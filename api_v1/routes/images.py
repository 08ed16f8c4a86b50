"""Images: the list, and views."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from api_v1.documentation import IMAGE_ID_EXAMPLES, answers, image_id_parameter
from api_v1.errors import InvalidInputError, NotFoundError
from api_v1.fields import PageSize, QueryTime, UuidText
from api_v1.idempotency import keyed, once
from api_v1.keyed_writes import Writes
from api_v1.responses import json_response
from api_v1.schemas import CommentListed, ImageListed, ViewOut
from api_v1.services import services_of
from gourmetgram.events import parse_uuid

router = APIRouter(tags=["images"])

ImageId = Annotated[UuidText, Path(openapi_examples=IMAGE_ID_EXAMPLES)]
IMAGE_NOT_FOUND = "Image not found"

_NEWEST = """
SELECT id::text AS id, user_id::text AS user_id, category, caption, COALESCE(views, 0) AS views, created_at
FROM images
WHERE deleted_at IS NULL AND ($2::timestamptz IS NULL OR created_at < $2)
ORDER BY created_at DESC, id
LIMIT $1
"""
_EXISTS = "SELECT FROM images WHERE id = $1 AND deleted_at IS NULL"
_COMMENTS = """
SELECT id::text AS id, user_id::text AS user_id, created_at
FROM comments
WHERE image_id = $1 AND deleted_at IS NULL AND NOT moderator_hidden
ORDER BY created_at DESC, id
LIMIT $2
"""


@router.get("/images/", summary="List images", response_model=list[ImageListed], responses=answers(422, 503))
async def list_images(
    request: Request,
    limit: Annotated[PageSize, Query(description="Most images to return")] = 100,
    before: Annotated[QueryTime | None, Query(description="Only images created before this time")] = None,
) -> Response:
    """Newest first; deleted images are left out."""
    rows = await services_of(request).database.fetch(_NEWEST, limit, before)
    return json_response([dict(row) for row in rows])


@router.get(
    "/images/{image_id}/comments",
    summary="List the comments of an image",
    response_model=list[CommentListed],
    responses=answers(404, 422, 503),
)
async def list_comments(
    request: Request,
    image_id: ImageId,
    limit: Annotated[PageSize, Query(description="Most comments to return")] = 100,
) -> Response:
    """Newest first; deleted and hidden comments are left out."""
    database = services_of(request).database
    rows = await database.fetch(_COMMENTS, image_id, limit)
    if not rows and not await database.fetch(_EXISTS, image_id):
        raise NotFoundError(IMAGE_NOT_FOUND)
    return json_response([dict(row) for row in rows])


@router.post(
    "/images/{image_id}/view",
    summary="View an image",
    response_model=ViewOut,
    responses=answers(404, 409, 413, 422, 503),
    openapi_extra=keyed(image_id_parameter()),
)
async def view_image(request: Request) -> Response:
    """Count a view; returns the image's views with this one."""
    # The hottest path: FastAPI's own parsing of the parameter would add a fifth to the cost of the request.
    image_id = parse_uuid(request.path_params["image_id"])
    if image_id is None:
        raise InvalidInputError.in_path("image_id", "The id is not a hyphenated UUID.")

    services = services_of(request)

    async def count(writes: Writes) -> Response:
        counted = await writes.submit(services.views, (image_id,))
        if counted is None:
            raise NotFoundError(IMAGE_NOT_FOUND)
        return json_response({"status": "ok", "views": counted["views"]})

    return await once(request, services, count)
