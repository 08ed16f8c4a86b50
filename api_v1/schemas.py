"""Bodies of requests and answers. Answers are built as bytes; their models are the documentation."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict

from api_v1.fields import (
    BirthYear,
    Caption,
    Category,
    CommentText,
    CountryCode,
    FlagReason,
    PastTime,
    TosVersion,
    Username,
    UuidText,
)

# Ids in examples. The docs page shows ids of rows that exist instead, once there are any (documentation.py).
EXAMPLE_USER_ID: Final = "11111111-1111-4111-8111-111111111111"
EXAMPLE_IMAGE_ID: Final = "22222222-2222-4222-8222-222222222222"
EXAMPLE_COMMENT_ID: Final = "33333333-3333-4333-8333-333333333333"


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserIn(_Input):
    """A new user."""

    username: Username
    tos_version_accepted: TosVersion = 1
    tos_accepted_at: PastTime | None = None
    country_of_residence: CountryCode | None = None
    year_of_birth: BirthYear | None = None
    is_test_account: Annotated[bool, Strict()] = False

    @staticmethod
    def example() -> dict[str, Any]:
        """A body that works."""
        return {
            "username": "demo_student",
            "tos_version_accepted": 1,
            "tos_accepted_at": "2026-01-15T12:00:00Z",
            "country_of_residence": "US",
            "year_of_birth": 1990,
            "is_test_account": False,
        }


class UploadIn(_Input):
    """The text fields of an upload."""

    user_id: UuidText
    caption: Caption | None = None
    category: Category | None = None


class CommentIn(_Input):
    """A comment on an image."""

    image_id: UuidText
    user_id: UuidText
    content: CommentText

    @staticmethod
    def example() -> dict[str, Any]:
        """A body that works."""
        return {"image_id": EXAMPLE_IMAGE_ID, "user_id": EXAMPLE_USER_ID, "content": "Looks delicious!"}


class FlagIn(_Input):
    """A report of an image, or of a comment, or of both when the comment is on that image."""

    user_id: UuidText
    reason: FlagReason
    image_id: UuidText | None = None
    comment_id: UuidText | None = None

    @staticmethod
    def example() -> dict[str, Any]:
        """A body that works."""
        return {"user_id": EXAMPLE_USER_ID, "image_id": EXAMPLE_IMAGE_ID, "reason": "Not food"}


class Health(BaseModel):
    """The process is alive."""

    status: str = Field(examples=["healthy"])


class Readiness(BaseModel):
    """Readiness: the state of each store now."""

    status: str = Field(examples=["ready"])
    checks: dict[str, bool]


class UserOut(BaseModel):
    """A user as stored."""

    id: UUID
    username: str
    tos_version_accepted: int
    tos_accepted_at: datetime | None
    country_of_residence: str | None
    year_of_birth: int | None
    is_test_account: bool
    created_at: datetime


class ImageOut(BaseModel):
    """An uploaded image."""

    id: UUID
    user_id: UUID
    s3_url: str
    source: str
    caption: str | None
    category: str | None
    views: int
    created_at: datetime
    deleted_at: datetime | None


class ImageListed(BaseModel):
    """An image in a list."""

    id: UUID
    user_id: UUID
    category: str | None
    caption: str | None
    views: int
    created_at: datetime


class ViewOut(BaseModel):
    """The image's views, this one included."""

    status: str = Field(examples=["ok"])
    views: int


class CommentOut(BaseModel):
    """A comment as stored."""

    id: UUID
    image_id: UUID
    user_id: UUID
    content: str
    moderator_hidden: bool
    moderator_action_id: UUID | None
    deleted_at: datetime | None
    created_at: datetime


class CommentListed(BaseModel):
    """A comment in a list."""

    id: UUID
    user_id: UUID
    created_at: datetime


class FlagOut(BaseModel):
    """A flag as stored."""

    id: UUID
    user_id: UUID
    image_id: UUID | None
    comment_id: UUID | None
    reason: str
    moderation_action_id: UUID | None
    review_status: str
    resolved_at: datetime | None
    created_at: datetime


class Problem(BaseModel):
    """An error, as one sentence."""

    detail: str


class InputProblem(BaseModel):
    """A value that breaks its rule: where it is, and a sentence."""

    loc: list[str | int]
    msg: str
    type: str


class InputProblems(BaseModel):
    """All values that break their rules."""

    detail: list[InputProblem]
