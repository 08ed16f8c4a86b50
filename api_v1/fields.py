"""The kinds of values that requests carry, each with its rule, its sentence and its JSON schema."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from gourmetgram.events import parse_uuid

# All control characters but line feed, carriage return and tab; and halves of surrogate pairs, which are no characters.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_BREAK: Final = re.compile(r"[\n\r\t]")
_OLDEST_BIRTH_YEAR: Final = 1900
_MAX_INTEGER: Final = 2**31 - 1


@dataclass(frozen=True)
class Text:
    """A text without control characters that is not blank.

    Attributes:
        longest: most characters (code points, as PostgreSQL counts).
        trimmed: drop white space around it; otherwise it is stored as sent.
        one_line: refuse line feed, carriage return and tab, too.
    """

    longest: int
    trimmed: bool = False
    one_line: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Pydantic's hook: a strict text, then `check`."""
        text = core_schema.str_schema(strict=True)
        return core_schema.no_info_after_validator_function(self.check, text)

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """Pydantic's hook: the schema for the docs page."""
        return {"type": "string", "minLength": 1, "maxLength": self.longest}

    def check(self, value: str) -> str:
        """Return the text in its stored form; refuse an invalid text with a sentence."""
        if _CONTROL.search(value):
            raise PydanticCustomError(
                "control_character", "The text contains a control character or half a surrogate pair"
            )
        if self.one_line and _LINE_BREAK.search(value):
            raise PydanticCustomError("one_line", "The text contains a line break or a tab")
        stripped = value.strip()
        if not stripped:
            raise PydanticCustomError("blank", "The text is blank")
        text = stripped if self.trimmed else value
        if len(text) > self.longest:
            message = "The text is longer than {longest} characters"
            raise PydanticCustomError("too_long", message, {"longest": self.longest})
        return text


def _uuid(value: str) -> str:
    parsed = parse_uuid(value)
    if parsed is None:
        raise PydanticCustomError("uuid", "The id is not a hyphenated UUID")
    return parsed


def _country(value: str) -> str:
    if not re.fullmatch("[A-Z]{2}", value):
        raise PydanticCustomError("country", "The country is not a code of two capital letters")
    return value


def _birth_year(value: int) -> int:
    latest = datetime.now(UTC).year
    if not _OLDEST_BIRTH_YEAR <= value <= latest:
        message = "The year of birth is not between {oldest} and {latest}"
        raise PydanticCustomError("year_of_birth", message, {"oldest": _OLDEST_BIRTH_YEAR, "latest": latest})
    return value


def _time_text(value: object) -> object:
    """Only text is a time here: pydantic would also take numbers as Unix times."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("time", "The time is not an ISO-8601 text")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("time", "The time is not an ISO-8601 text") from None


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "The time is outside the calendar") from None


def _not_in_future(value: datetime) -> datetime:
    if value > datetime.now(UTC):
        raise PydanticCustomError("future", "The time is in the future")
    return value


def _plus_restored(value: object) -> object:
    """In a query, `+` means a space: repair the offset of a time that was not escaped."""
    return value.replace(" ", "+") if isinstance(value, str) and "T" in value else value


_UUID_SCHEMA = WithJsonSchema({"type": "string", "format": "uuid"})
_TIME_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})

UuidText: TypeAlias = Annotated[str, Strict(), AfterValidator(_uuid), _UUID_SCHEMA]
"""A UUID as PostgreSQL and Kafka take it: lower-case text."""

UtcTime: TypeAlias = Annotated[datetime, BeforeValidator(_time_text), AfterValidator(_utc), _TIME_SCHEMA]
PastTime: TypeAlias = Annotated[UtcTime, AfterValidator(_not_in_future), _TIME_SCHEMA]
QueryTime: TypeAlias = Annotated[UtcTime, BeforeValidator(_plus_restored), _TIME_SCHEMA]

Username: TypeAlias = Annotated[str, Text(100, trimmed=True, one_line=True)]
Caption: TypeAlias = Annotated[str, Text(2_000)]
Category: TypeAlias = Annotated[str, Text(64, trimmed=True, one_line=True)]
CommentText: TypeAlias = Annotated[str, Text(5_000)]
FlagReason: TypeAlias = Annotated[str, Text(1_000, one_line=True)]
CountryCode: TypeAlias = Annotated[
    str, Strict(), AfterValidator(_country), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{2}$"})
]
BirthYear: TypeAlias = Annotated[
    int, Strict(), AfterValidator(_birth_year), WithJsonSchema({"type": "integer", "minimum": _OLDEST_BIRTH_YEAR})
]
TosVersion: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=_MAX_INTEGER)]
PageSize: TypeAlias = Annotated[int, Field(ge=1, le=1000)]
