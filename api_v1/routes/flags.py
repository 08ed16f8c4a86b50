"""Flags: reports of images and comments."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_v1.body import read_json
from api_v1.documentation import answers, json_body
from api_v1.errors import TargetMissingError
from api_v1.idempotency import keyed, once
from api_v1.keyed_writes import Writes
from api_v1.responses import json_response
from api_v1.routes.refusals import accepted
from api_v1.schemas import FlagIn, FlagOut
from api_v1.services import services_of

router = APIRouter(tags=["flags"])


@router.post(
    "/flags/",
    summary="Flag an image or a comment",
    response_model=FlagOut,
    responses=answers(400, 404, 409, 413, 422, 503),
    openapi_extra=keyed(json_body(FlagIn, FlagIn.example())),
)
async def create_flag(request: Request) -> Response:
    """Store a report; repeated reports are kept apart."""
    flag = await read_json(request, FlagIn)
    if flag.image_id is None and flag.comment_id is None:
        raise TargetMissingError("A flag needs an image_id or a comment_id.")
    row = (flag.user_id, flag.image_id, flag.comment_id, flag.reason)
    services = services_of(request)

    async def write(writes: Writes) -> Response:
        stored = accepted(await writes.submit(services.flags, row))
        return json_response(
            {
                "id": stored["id"],
                "user_id": flag.user_id,
                "image_id": flag.image_id,
                "comment_id": flag.comment_id,
                "reason": flag.reason,
                "moderation_action_id": None,
                "review_status": "pending",
                "resolved_at": None,
                "created_at": stored["created_at"],
            }
        )

    return await once(request, services, write)
