"""Requests that the server cancels because it stops: the truth for the client, and no picture without its row."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
import pytest
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_v1.body import read_json
from api_v1.keyed_writes import Writes
from api_v1.middleware import Observe
from api_v1.routes import uploads
from api_v1.schemas import CommentIn, UploadIn
from api_v1.services import Services
from api_v1.upload_form import UploadForm, read_upload
from api_v1.upload_room import Reading
from gourmetgram.errors import OutcomeUnknownError, TransientError

USER_ID = "0b8f6a1e-3c5d-4e7f-9a2b-6d8c0e1f2a3b"


class Hanging:
    """Something that waits for ever, and notes that it was begun."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def wait(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


async def cancelled(work: Awaitable[Any], begun: asyncio.Event) -> BaseException | None:
    """Cancel work once it has begun, as the server does; its error."""
    task = asyncio.ensure_future(work)
    await asyncio.wait_for(begun.wait(), 10)
    task.cancel()
    results: list[BaseException | None] = await asyncio.gather(task, return_exceptions=True)
    return results[0]


def scope_of(method: str, content_type: str = "application/json") -> Scope:
    """An HTTP request without a body so far."""
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"1000")]
    return {"type": "http", "method": method, "path": "/", "headers": headers, "query_string": b""}


async def answer_of(app: ASGIApp, scope: Scope, begun: asyncio.Event) -> list[Message]:
    """Messages to the client of a request that is cancelled."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    assert await cancelled(app(scope, receive, send), begun) is None
    return sent


@pytest.mark.parametrize(
    ("method", "sentence", "retry"),
    [("POST", "It is not known whether", False), ("GET", "Nothing was stored", True)],
)
async def test_a_request_without_an_answer_gets_503_and_not_500(method: str, sentence: str, retry: bool) -> None:
    hanging = Hanging()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hanging.wait()

    start, body = await answer_of(Observe(app), scope_of(method), hanging.begun)
    assert start["status"] == 503
    assert sentence in orjson.loads(body["body"])["detail"]
    assert (b"retry-after" in dict(start["headers"])) == retry


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    hanging, sent = Hanging(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await hanging.wait()

    async def send(message: Message) -> None:
        sent.append(message)

    error = await cancelled(Observe(app)(scope_of("POST"), cast(Receive, None), send), hanging.begun)
    assert isinstance(error, asyncio.CancelledError)
    assert [message["type"] for message in sent] == ["http.response.start"]


Read = Callable[[Request], Awaitable[object]]


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        ("application/json", lambda request: read_json(request, CommentIn)),
        ("multipart/form-data; boundary=b", lambda request: read_upload(request, 1000, Reading())),
    ],
    ids=["JSON", "upload"],
)
async def test_a_request_whose_body_has_not_arrived_certainly_stored_nothing(content_type: str, read: Read) -> None:
    hanging = Hanging()

    async def receive() -> Message:
        await hanging.wait()
        raise AssertionError

    error = await cancelled(read(Request(scope_of("POST", content_type), receive)), hanging.begun)
    assert type(error) is TransientError


class Stores:
    """The two stores of an upload; one of them never answers."""

    def __init__(self, hanging: Hanging, put_hangs: bool) -> None:
        self._hanging = hanging
        self._put_hangs = put_hangs
        self.discarded: list[str] = []
        self.in_doubt = False
        self.objects = self.images = self
        self.row: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def url(self, key: str) -> str:
        return f"http://objects/{key}"

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        if self._put_hangs:
            await self._hanging.wait()

    def discard(self, key: str) -> None:
        self.discarded.append(key)

    def submit(self, writer: object, row: object, deadline: float) -> asyncio.Future[Any]:
        self._hanging.begun.set()
        return self.row


def store(stores: Stores) -> Awaitable[Any]:
    """Store an upload as the route does."""
    upload = UploadForm(UploadIn.model_validate({"user_id": USER_ID}), b"data")
    picture = uploads.NewPicture("id", "id.jpg", b"data", "image/jpeg")
    return uploads._store(cast(Services, stores), cast(Writes, stores), upload, picture, 1.0)


async def test_a_cancelled_upload_whose_row_may_be_in_flight_keeps_its_picture() -> None:
    hanging = Hanging()
    stores = Stores(hanging, put_hangs=False)
    assert isinstance(await cancelled(store(stores), hanging.begun), asyncio.CancelledError)
    assert stores.discarded == []


async def test_a_cancelled_upload_whose_row_was_not_asked_for_removes_its_picture() -> None:
    hanging = Hanging()
    stores = Stores(hanging, put_hangs=True)
    assert isinstance(await cancelled(store(stores), hanging.begun), asyncio.CancelledError)
    assert stores.discarded == ["id.jpg"]


@pytest.mark.parametrize(
    ("error", "discarded"), [(TransientError("too slow"), ["id.jpg"]), (OutcomeUnknownError("lost"), [])]
)
async def test_a_picture_goes_when_its_row_was_certainly_not_written(error: Exception, discarded: list[str]) -> None:
    stores = Stores(Hanging(), put_hangs=False)
    stores.row.set_exception(error)
    with pytest.raises(type(error)):
        await store(stores)
    assert stores.discarded == discarded
