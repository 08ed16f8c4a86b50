"""Client of the API: typed calls, and one error class for every failure.

Each call that writes has an idempotency key, so it can be repeated: the API carries it out once.
"""

import asyncio
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_fixed

from gourmetgram.errors import PlatformError

RECENT_LIMIT: Final = 1000
"""Largest page that the API returns, in rows."""

ATTEMPTS: Final = 3
"""Most attempts of a call that writes."""

RETRY_PAUSE_S: Final = 1.0
"""Pause before the next attempt, seconds."""

_AGAIN: Final = (None, httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE)
"""Statuses after which the same call may succeed: no answer, the first attempt is in progress, a store is away."""

# Shorter than a server's own keep-alive, so that no connection is reused that the server is about to close.
_KEEPALIVE_S: Final = 2.0
_ERROR_TEXT_LENGTH: Final = 200
_NOT_FOUND: Final = re.compile(r"\b(User|Image|Comment) not found")

T = TypeVar("T")


class ApiCallError(PlatformError):
    """A call failed: no answer in time, no connection, a refusal, or an answer of the wrong form.

    Attributes:
        status: HTTP status of the answer, None when there was none.
        missing: kind of the object that the API does not know (any more): `user`, `image` or `comment`; else None.
    """

    def __init__(self, message: str, status: int | None = None, missing: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.missing = missing


class NewUser(BaseModel):
    """Fields of a new user."""

    username: str
    tos_version_accepted: int
    tos_accepted_at: datetime
    country_of_residence: str
    year_of_birth: int
    is_test_account: bool


class User(BaseModel):
    """A user as stored."""

    id: UUID
    username: str
    year_of_birth: int | None
    is_test_account: bool


class ListedImage(BaseModel):
    """An image of the list of recent ones."""

    id: UUID
    user_id: UUID
    views: int


class ListedComment(BaseModel):
    """A visible comment."""

    id: UUID


class Created(BaseModel):
    """A new object with its id."""

    id: UUID


class Views(BaseModel):
    """Answer to a view."""

    views: int


class ApiClient:
    """Calls of the API; one instance a process, closed at the end.

    Args:
        url: root of the API.
        timeout_s: seconds until an attempt is given up, in all.
        connections: largest number of calls in flight.
    """

    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=timeout_s,
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=20, keepalive_expiry=_KEEPALIVE_S
            ),
            # The API belongs to the platform: a proxy for the internet does not apply.
            trust_env=False,
        )
        self._server_time: tuple[datetime, float] | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def server_now(self) -> datetime:
        """The API's current time, also when its clock runs behind the generator's.

        The last answer's `Date` (whole seconds, cut) plus the time since it arrived.
        """
        if self._server_time is None:
            return datetime.now(UTC)
        date, received = self._server_time
        return date + timedelta(seconds=time.monotonic() - received)

    async def ready(self) -> None:
        """Check that the API is ready.

        Raises:
            ApiCallError: the API is not ready, or does not answer.
        """
        await self._send(self._http.build_request("GET", "/ready"))

    async def recent_images(self, limit: int = RECENT_LIMIT) -> list[ListedImage]:
        """Images that are not deleted, newest first."""
        response = await self._send(self._http.build_request("GET", "/images/", params={"limit": limit}))
        return _parse(TypeAdapter(list[ListedImage]), response)

    async def comments_of(self, image_id: UUID, limit: int = 100) -> list[ListedComment]:
        """Visible comments of an image."""
        response = await self._send(
            self._http.build_request("GET", f"/images/{image_id}/comments", params={"limit": limit})
        )
        return _parse(TypeAdapter(list[ListedComment]), response)

    async def create_user(self, user: NewUser) -> User:
        """Register a user, or return the existing user of that name."""
        response = await self._send(self._http.build_request("POST", "/users/", json=user.model_dump(mode="json")))
        return _parse(TypeAdapter(User), response)

    async def upload(self, user_id: UUID, filename: str, content: bytes, caption: str, category: str) -> UUID:
        """Upload a picture; returns the image's id."""
        form = {"user_id": str(user_id), "caption": caption, "category": category}
        response = await self._send(
            self._http.build_request("POST", "/upload/", data=form, files={"file": (filename, content)})
        )
        return _parse(TypeAdapter(Created), response).id

    async def view(self, image_id: UUID) -> int:
        """View an image; returns its views so far."""
        response = await self._send(self._http.build_request("POST", f"/images/{image_id}/view"))
        return _parse(TypeAdapter(Views), response).views

    async def comment(self, image_id: UUID, user_id: UUID, content: str) -> UUID:
        """Comment on an image; returns the comment's id."""
        body = {"image_id": str(image_id), "user_id": str(user_id), "content": content}
        return _parse(
            TypeAdapter(Created), await self._send(self._http.build_request("POST", "/comments/", json=body))
        ).id

    async def flag_image(self, image_id: UUID, user_id: UUID, reason: str) -> UUID:
        """Flag an image; returns the flag's id."""
        body = {"image_id": str(image_id), "user_id": str(user_id), "reason": reason}
        return _parse(TypeAdapter(Created), await self._send(self._http.build_request("POST", "/flags/", json=body))).id

    async def flag_comment(self, comment_id: UUID, user_id: UUID, reason: str) -> UUID:
        """Flag a comment; returns the flag's id."""
        body = {"comment_id": str(comment_id), "user_id": str(user_id), "reason": reason}
        return _parse(TypeAdapter(Created), await self._send(self._http.build_request("POST", "/flags/", json=body))).id

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send a request, one that writes several times if need be, and return its successful answer.

        Raises:
            ApiCallError: there was none.
        """
        if request.method != "POST":
            return await self._attempt(request)
        request.headers["Idempotency-Key"] = str(uuid.uuid4())
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, ApiCallError) and error.status in _AGAIN),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_fixed(RETRY_PAUSE_S),
            reraise=True,
        )
        return await attempts(self._attempt, request)

    async def _attempt(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path}"
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.send(request)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ApiCallError(f"{call}: {str(error) or type(error).__name__}") from error
        self._note_time(response)
        if response.status_code != httpx.codes.OK:
            raise _refusal(call, response)
        return response

    def _note_time(self, response: httpx.Response) -> None:
        try:
            date = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            # Without a usable date, the generator's own clock is taken.
            return
        self._server_time = (date if date.tzinfo else date.replace(tzinfo=UTC), time.monotonic())


def _refusal(call: str, response: httpx.Response) -> ApiCallError:
    text = response.text[:_ERROR_TEXT_LENGTH]
    missing = _NOT_FOUND.search(text) if response.status_code == httpx.codes.NOT_FOUND else None
    return ApiCallError(
        f"{call}: status {response.status_code}: {text}",
        response.status_code,
        missing.group(1).lower() if missing else None,
    )


def _parse(form: TypeAdapter[T], response: httpx.Response) -> T:
    try:
        return form.validate_json(response.content)
    except ValidationError as error:
        raise ApiCallError(f"{response.request.url.path}: the answer has the wrong form: {error}") from error
