"""Uploads: a file becomes an object and a row, or neither."""

import asyncio
import uuid

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

router = APIRouter(tags=["images"])


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
    await services.upload_budget.take(size)
    try:
        upload = await read_upload(request, services.settings.max_upload_bytes)
        # Each attempt of a client may separate the parts of its form with another random text.
        content = (upload.fields.user_id, upload.fields.caption, upload.fields.category, upload.data)
        began = now()
        return await once(request, services, lambda writes: _take(services, upload, writes, began), content)
    finally:
        services.upload_budget.give_back(size)


def _announced_bytes(request: Request, most: int) -> int:
    """Announced size of the body, at most the path's limit; the limit for a body without a length."""
    length = request.headers.get("content-length", "")
    return min(int(length), most) if length.isdecimal() else most


async def _take(services: Services, upload: UploadForm, writes: Writes, began: float) -> Response:
    """Store the picture and its row, or neither.

    Raises:
        NotFoundError: the user does not exist.
        NotAnImageError: the file is no image, or too large.
        TransientError: a store is away or too slow, or the upload was given up meanwhile (orphan_sweeper.py).
    """
    if not await user_existed(services, upload.fields.user_id, began + WAIT_S):
        raise NotFoundError(USER_NOT_FOUND)
    # All waits for the database together take no longer than the limit of one.
    database_wait_s = WAIT_S - (now() - began)
    data, kind = await _clean(services, upload.data)
    image_id = str(uuid.uuid4())
    key = f"{image_id}.{kind.extension}"
    response: Response | None = None
    try:
        # The object first, so that no row ever names a missing object.
        await services.objects.put(key, data, kind.content_type)
        fields = upload.fields
        row = (image_id, fields.user_id, services.objects.url(key), fields.caption, fields.category)
        stored = accepted(await writes.submit(services.images, row, deadline_after(database_wait_s)))
        response = await writes.finish(_described(services, upload, image_id, key, stored))
        return response
    finally:
        # Without a row the object is removed again: after any failure, a cancelled request included. When the end of
        # the transaction is not known, the sweeper asks the rows (orphan_sweeper.py).
        if response is None and not writes.in_doubt:
            services.objects.discard(key)


def _described(services: Services, upload: UploadForm, image_id: str, key: str, stored: DatabaseRow) -> Response:
    return json_response(
        {
            "id": image_id,
            "user_id": upload.fields.user_id,
            "s3_url": services.objects.url(key),
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
