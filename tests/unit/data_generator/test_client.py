"""Calls of the API are repeated under their key, and only when that can help."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from data_generator import client
from data_generator.client import ATTEMPTS, ApiCallError, ApiClient
from tests.support.api import serve

ID = uuid.uuid4()
CALLS: list[Callable[[ApiClient], Awaitable[object]]] = [
    lambda api: api.view(ID),
    lambda api: api.comment(ID, ID, "yum"),
    lambda api: api.flag_image(ID, ID, "spam"),
    lambda api: api.upload(ID, "x.jpg", b"bytes", "caption", "Soup"),
]


class Site:
    """An API that answers with the given statuses, and with 200 when there are no more."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.seen: list[tuple[str | None, bytes]] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        self.seen.append((request.headers.get("idempotency-key"), await request.body()))
        return JSONResponse({"id": str(ID), "views": 1}, self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(client, "RETRY_PAUSE_S", 0.0)
    site, app = Site(), FastAPI()
    app.add_route("/{path:path}", site.answer, methods=["GET", "POST"])
    async with serve(app) as site.url:
        yield site


@pytest.fixture
async def api(site: Site) -> AsyncIterator[ApiClient]:
    api = ApiClient(site.url, 10.0, 4)
    yield api
    await api.close()


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_writes_is_repeated_with_the_same_key_and_body(
    site: Site, api: ApiClient, call: Callable[[ApiClient], Awaitable[object]]
) -> None:
    site.statuses = [503, 409]
    await call(api)
    assert len(site.seen) == 3
    assert len(set(site.seen)) == 1
    assert uuid.UUID(site.seen[0][0])


async def test_each_call_has_a_key_of_its_own(site: Site, api: ApiClient) -> None:
    await api.view(ID)
    await api.view(ID)
    assert len({key for key, _ in site.seen}) == 2


async def test_a_call_is_given_up_after_some_attempts(site: Site, api: ApiClient) -> None:
    site.statuses = [503] * 10
    with pytest.raises(ApiCallError, match="status 503"):
        await api.view(ID)
    assert len(site.seen) == ATTEMPTS


async def test_a_refusal_is_not_repeated(site: Site, api: ApiClient) -> None:
    site.statuses = [404]
    with pytest.raises(ApiCallError, match="status 404"):
        await api.view(ID)
    assert len(site.seen) == 1


async def test_a_call_that_reads_has_no_key_and_is_not_repeated(site: Site, api: ApiClient) -> None:
    site.statuses = [503]
    with pytest.raises(ApiCallError):
        await api.ready()
    assert [key for key, _ in site.seen] == [None]
