"""Comments."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_v1.body import read_json
from api_v1.documentation import answers, json_body
from api_v1.idempotency import keyed, once
from api_v1.keyed_writes import Writes
from api_v1.responses import json_response
from api_v1.routes.refusals import accepted
from api_v1.schemas import CommentIn, CommentOut
from api_v1.services import services_of

router = APIRouter(tags=["comments"])


@router.post(
    "/comments/",
    summary="Comment on an image",
    response_model=CommentOut,
    responses=answers(404, 409, 413, 422, 503),
    openapi_extra=keyed(json_body(CommentIn, CommentIn.example())),
)
async def create_comment(request: Request) -> Response:
    """Store a comment."""
    comment = await read_json(request, CommentIn)
    row = (comment.image_id, comment.user_id, comment.content)
    services = services_of(request)

    async def write(writes: Writes) -> Response:
        stored = accepted(await writes.submit(services.comments, row))
        return json_response(
            {
                "id": stored["id"],
                "image_id": comment.image_id,
                "user_id": comment.user_id,
                "content": comment.content,
                "moderator_hidden": False,
                "moderator_action_id": None,
                "deleted_at": None,
                "created_at": stored["created_at"],
            }
        )

    return await once(request, services, write)
