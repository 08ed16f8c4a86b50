"""Reading the multipart form of an upload."""

import asyncio
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from api_v1.errors import InvalidInputError, TooLargeError
from api_v1.schemas import UploadIn
from api_v1.upload_room import Reading
from gourmetgram.errors import TransientError

FORM_OVERHEAD_BYTES: Final = 64 * 1024
"""Most bytes of a form beside the file: boundaries, headers, and the text fields."""

_OPTIONAL = ("caption", "category")
_READ_TIMEOUT_S = 120.0
_UTF_8: Final = (b"utf-8", b"utf8")


@dataclass(frozen=True)
class UploadForm:
    """An upload as the client sent it, its text fields checked."""

    fields: UploadIn
    data: bytes


async def read_upload(request: Request, max_file_bytes: int, reading: Reading) -> UploadForm:
    """The form of `POST /upload/`.

    Args:
        request: request whose body has not been read.
        max_file_bytes: most bytes of the file.
        reading: place of the upload in the room for all uploads.

    Raises:
        InvalidInputError: the body is no such form, or a field breaks its rule.
        TooLargeError: the file is larger than allowed.
        TransientError: before the body has arrived, the service stops, or others need the room of a slow upload.
    """
    _require_form(request.headers.get("content-type", ""))
    try:
        async with reading.within(_READ_TIMEOUT_S):
            body = Request(request.scope, reading.counted(request.receive))
            form = await body.form(max_files=1, max_fields=8, max_part_size=FORM_OVERHEAD_BYTES)
    except TimeoutError:
        raise InvalidInputError.at("", "The form did not arrive in time.") from None
    except asyncio.CancelledError:
        raise TransientError("the service stops before the body has arrived") from None
    except HTTPException as error:
        raise InvalidInputError.at("", f"The form cannot be read: {error.detail}") from None
    try:
        return UploadForm(_fields(form), await _file(form, max_file_bytes))
    finally:
        await form.close()


def _require_form(content_type: str) -> None:
    media_type, parameters = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise InvalidInputError.at("", "The Content-Type must be multipart/form-data.")
    # Starlette decodes texts with the codec that the client names; some of Python's codecs always fail.
    if parameters.get(b"charset", b"utf-8").lower() not in _UTF_8:
        raise InvalidInputError.at("", "The charset of the form must be utf-8.")


def _fields(form: FormData) -> UploadIn:
    names = [name for name, _ in form.multi_items()]
    if len(set(names)) != len(names):
        raise InvalidInputError.at("", "The form names a field twice.")
    # Forms cannot leave out a field: browsers send an empty text for an empty one.
    values = {name: value for name, value in form.items() if name != "file" and not (name in _OPTIONAL and value == "")}
    if isinstance(values.get("category"), str) and not str(values["category"]).strip():
        del values["category"]
    try:
        return UploadIn.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError.from_validation(error) from None


async def _file(form: FormData, max_bytes: int) -> bytes:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidInputError.at("file", "The file is missing.")
    if file.size is not None and file.size > max_bytes:
        raise TooLargeError(f"The file is larger than {max_bytes} bytes.")
    return await file.read()
