"""Refusals of rows by a statement, as errors."""

from typing import Final

from api_v1.errors import ApiError, InvalidInputError, NotFoundError
from api_v1.routes.images import IMAGE_NOT_FOUND
from gourmetgram.database.pool import DatabaseRow
from gourmetgram.errors import TransientError

USER_NOT_FOUND: Final = "User not found"

_NOT_FOUND: Final = {"no_user": USER_NOT_FOUND, "no_image": IMAGE_NOT_FOUND, "no_comment": "Comment not found"}


def accepted(record: DatabaseRow | None) -> DatabaseRow:
    """The record of a row that was written.

    Raises:
        NotFoundError, InvalidInputError: see the record's `refusal`.
        TransientError: the upload took so long that its picture was removed.
    """
    if record is None:
        raise TransientError("the statement returned nothing for a row")
    refusal = record["refusal"]
    if refusal is not None:
        raise _error(refusal)
    return record


def _error(refusal: str) -> ApiError | TransientError:
    if refusal == "abandoned":
        return TransientError("the upload took so long that its picture was removed")
    if refusal == "other_image":
        return InvalidInputError.at("comment_id", "The comment belongs to another image.")
    return NotFoundError(_NOT_FOUND[refusal])
