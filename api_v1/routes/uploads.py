"""Uploads: a file becomes an object and a row, or neither."""

import asyncio
import uuid
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_v1.documentation import answers, upload_body
from api_v1.errors import NotFoundError
from api_v1.idempotency import keyed, once
from api_v1.image_check import ImageKind, clean_image, decoding_bytes
from api_v1.keyed_writes import Writes
from api_v1.responses import json_response
from api_v1.routes.refusals import USER_NOT_FOUND, accepted
from api_v1.routes.users import user_existed
from api_v1.schemas import ImageOut, UploadIn
from api_v1.services import Services, services_of
from api_v1.upload_form import FORM_OVERHEAD_BYTES, UploadForm, read_upload
from gourmetgram.database.pool import WAIT_S, DatabaseRow, deadline_after, now
from gourmetgram.errors import OutcomeUnknownError

router = APIRouter(tags=["images"])


class NewPicture(NamedTuple):
    """A checked picture that is not stored yet.

    Attributes:
        image_id: id of its row to be.
        key: key of its object.
        data: content of the object.
        content_type: media type of the object.
    """

    image_id: str
    key: str
    data: bytes
    content_type: str


@router.post(
    "/upload/",
    summary="Upload an image",
    response_model=ImageOut,
    responses=answers(404, 409, 413, 415, 422, 503),
    openapi_extra=keyed(upload_body(UploadIn)),
)
async def upload_image(request: Request) -> Response:
    """Store an image; decoding decides the format, not the file's name."""
    services = services_of(request)
    size = _announced_bytes(request, services.settings.max_upload_bytes + FORM_OVERHEAD_BYTES)
    async with services.upload_room.admit(size) as reading:
        upload = await read_upload(request, services.settings.max_upload_bytes, reading)
        # Each attempt of a client may separate the parts of its form with another random text.
        content = (upload.fields.user_id, upload.fields.caption, upload.fields.category, upload.data)
        began = now()
        return await once(request, services, lambda writes: _take(services, upload, writes, began), content)


def _announced_bytes(request: Request, most: int) -> int:
    """Announced size of the body, at most the path's limit; the limit for a body without a length."""
    length = request.headers.get("content-length", "")
    return min(int(length), most) if length.isdecimal() else most


async def _take(services: Services, upload: UploadForm, writes: Writes, began: float) -> Response:
    """Store the picture and its row, or neither.

    Raises:
        NotFoundError: the user does not exist.
        NotAnImageError: the file is no image, or too large.
        OutcomeUnknownError: the row may be stored.
        TransientError: a store is away or too slow, or the upload was given up meanwhile.
    """
    if not await user_existed(services, upload.fields.user_id, began + WAIT_S):
        raise NotFoundError(USER_NOT_FOUND)
    # All waits for the database together take no longer than the limit of one.
    database_wait_s = WAIT_S - (now() - began)
    data, kind = await _clean(services, upload.data)
    image_id = str(uuid.uuid4())
    picture = NewPicture(image_id, f"{image_id}.{kind.extension}", data, kind.content_type)
    return await _store(services, writes, upload, picture, database_wait_s)


async def _store(
    services: Services, writes: Writes, upload: UploadForm, picture: NewPicture, database_wait_s: float
) -> Response:
    """Store the object first, so that no row ever names a missing object. Without a row the object is removed again.

    Raises:
        NotFoundError: the user was deleted meanwhile.
        OutcomeUnknownError: the row may be stored. The object stays, and goes when the row is missing
            (orphan_sweeper.py).
        TransientError: a store is away or too slow, or the upload was given up meanwhile.
    """
    fields = upload.fields
    row = (picture.image_id, fields.user_id, services.objects.url(picture.key), fields.caption, fields.category)
    rowless = True
    try:
        await services.objects.put(picture.key, picture.data, picture.content_type)
        # From here on, a request that is cancelled may leave a row.
        rowless = False
        stored = accepted(await writes.submit(services.images, row, deadline_after(database_wait_s)))
        return await writes.finish(_described(services, upload, picture, stored))
    except Exception as error:
        rowless = not writes.in_doubt and not isinstance(error, OutcomeUnknownError)
        raise
    finally:
        if rowless:
            services.objects.discard(picture.key)


def _described(services: Services, upload: UploadForm, picture: NewPicture, stored: DatabaseRow) -> Response:
    return json_response(
        {
            "id": picture.image_id,
            "user_id": upload.fields.user_id,
            "s3_url": services.objects.url(picture.key),
            "source": "user_upload",
            "caption": upload.fields.caption,
            "category": upload.fields.category,
            "views": 0,
            "created_at": stored["created_at"],
            "deleted_at": None,
        }
    )


async def _clean(services: Services, data: bytes) -> tuple[bytes, ImageKind]:
    """Remove metadata and find the format, within the memory budget of all decoding.

    Raises:
        NotAnImageError: the file is no image, or too large.
        TransientError: other images use the memory.
    """
    settings, loop = services.settings, asyncio.get_running_loop()
    budget = services.decoding_budget
    needed = await loop.run_in_executor(
        services.decoding, decoding_bytes, data, settings.max_image_pixels, budget.total
    )
    await budget.take(needed)
    decoding = loop.run_in_executor(services.decoding, clean_image, data, settings.max_image_pixels)
    # The thread goes on when the request is given up: the memory is freed when the thread ends.
    decoding.add_done_callback(lambda _: budget.give_back(needed))
    return await asyncio.shield(decoding)
