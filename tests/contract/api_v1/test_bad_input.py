"""Whatever a client sends: never a 5xx, and a 4xx leaves nothing behind."""

import asyncio
import encodings.aliases
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.api import NOBODY, Api, picture
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

JSON_PATHS = ("/users/", "/comments/", "/flags/")
HEADERS = {"content-type": "application/json"}
_ODD_CHARSETS = ("undefined", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "no-such", "")


def _nested(depth: int) -> bytes:
    return b'{"username": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"1",
        b'"text"',
        b"{",
        b'{"username": "x"',
        b'{"username": "x"} trailing',
        b'{"username": "x", "username": "y"}',
        b'{"username": NaN}',
        b'{"year_of_birth": Infinity}',
        b"{'username': 'x'}",
        b'{"username": "\xff\xfe"}',
        '{"username": "x"}'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'{"username": "x"}',
        b'{"username": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"username": "\\u0000"}',
        b'{"username": "a\nb',
        b'{"year_of_birth": ' + b"9" * 10_000 + b"}",
        b'{"year_of_birth": 1e999}',
        b'{"username": {"a": 1}}',
        _nested(33),
        _nested(2_000),
        _nested(30_000),
        json.dumps({f"field{number}": number for number in range(3_000)}).encode(),
        json.dumps({"x" * 60_000: 1}).encode(),
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_a_body_that_is_not_as_agreed_is_422_with_a_short_answer(api: Api, path: str, body: bytes) -> None:
    before = await api.traces()
    answer = await api.http.post(path, content=body, headers=HEADERS)
    assert answer.status_code == 422, answer.text
    problems = answer.json()["detail"]
    assert problems
    assert all(problem["msg"] for problem in problems)
    assert len(answer.content) < 10_000
    assert await api.traces() == before


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "\x00"]
)
async def test_json_with_another_content_type_is_422(api: Api, content_type: str) -> None:
    before = await api.traces()
    answer = (
        await api.http.post(
            "/users/", content=b'{"username": "typed"}', headers={b"content-type": content_type.encode()}
        )
        if content_type != "\x00"
        else await api.http.post("/users/", content=b'{"username": "typed"}')
    )
    assert answer.status_code == 422
    assert await api.traces() == before


@pytest.mark.parametrize("path", [*JSON_PATHS, f"/images/{NOBODY}/view", "/nowhere"])
async def test_a_json_body_over_64_kib_is_413_announced_or_not(api: Api, path: str) -> None:
    before = await api.traces()
    body = b'{"username": "' + b"x" * (64 * 1024) + b'"}'
    announced = await api.http.post(path, content=body, headers=HEADERS)
    assert announced.status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]

    if path in JSON_PATHS:
        assert (await api.http.post(path, content=chunks(), headers=HEADERS)).status_code == 413
    assert await api.traces() == before


async def test_a_body_of_almost_64_kib_is_read(api: Api) -> None:
    body = b'{"username": "x"' + b" " * (64 * 1024 - 17) + b"}"
    assert (await api.http.post("/users/", content=body, headers=HEADERS)).status_code == 200


async def test_a_huge_body_is_refused_before_it_is_sent(api: Api) -> None:
    host, port = api.http.base_url.host, api.http.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n"
    )
    status = await asyncio.wait_for(reader.readline(), 5)
    assert b" 413 " in status
    writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
    ids=repr,
)
async def test_broken_http_is_4xx_or_closed(api: Api, raw: bytes) -> None:
    reader, writer = await asyncio.open_connection(api.http.base_url.host, api.http.base_url.port)
    writer.write(raw)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(2_000), 10)
    assert answer == b"" or answer.split(b" ", 2)[1].startswith(b"4"), answer
    writer.close()


@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
async def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    before = await api.traces()
    caplog.set_level(logging.INFO, logger="gourmetgram.requests")
    _, writer = await asyncio.open_connection(api.http.base_url.host, api.http.base_url.port)
    writer.write(
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b'Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )
    await writer.drain()
    writer.close()

    async def logged() -> bool:
        return any('"path":"/upload/","status":400' in record.getMessage() for record in caplog.records)

    await wait_until_async(logged, what="the request's log line")
    assert await api.traces() == before


# --- property-based ---------------------------------------------------------------------------------------------------

_names = st.sampled_from(
    [
        *("username", "tos_version_accepted", "tos_accepted_at", "country_of_residence", "year_of_birth"),
        *("is_test_account", "image_id", "user_id", "comment_id", "content", "reason", "caption", "category"),
    ]
)
_texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
_ids = st.uuids().map(str)
_times = st.datetimes().map(lambda moment: moment.isoformat())
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _texts, _ids, _times, st.sampled_from(["US", "", " "])
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_texts, inner, max_size=3)),
    max_leaves=6,
)
_bodies = st.one_of(
    st.binary(max_size=80),
    _values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.one_of(_names, _texts), _values, max_size=6).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({"image_id": _ids, "user_id": _ids, "content": _texts}).map(lambda v: json.dumps(v).encode()),
    st.fixed_dictionaries({"user_id": _ids, "reason": _texts, "comment_id": _ids}).map(
        lambda v: json.dumps(v).encode()
    ),
    st.fixed_dictionaries({"username": _texts, "tos_accepted_at": _times}).map(lambda v: json.dumps(v).encode()),
)
_settings = settings(
    max_examples=150,
    derandomize=True,
)


def _on_the_loop(calls: list[Any], loop: asyncio.AbstractEventLoop) -> list[httpx.Response]:
    """Hypothesis calls plain functions: run them in a thread, and their requests on the test's event loop."""

    async def together() -> list[httpx.Response]:
        return [await call() for call in calls]

    return asyncio.run_coroutine_threadsafe(together(), loop).result(60)


async def test_no_json_body_whatsoever_ends_in_a_5xx_and_refused_ones_leave_nothing(api: Api) -> None:
    loop = asyncio.get_running_loop()
    before = await api.traces()
    accepted = 0

    @_settings
    @given(st.sampled_from(JSON_PATHS), _bodies)
    def send(path: str, body: bytes) -> None:
        nonlocal accepted
        (answer,) = _on_the_loop([lambda: api.http.post(path, content=body, headers=HEADERS)], loop)
        assert answer.status_code in (200, 400, 404, 413, 422), (body, answer.text)
        assert answer.json()
        # Only users need nothing that exists already.
        assert answer.status_code != 200 or path == "/users/"
        accepted += answer.status_code == 200

    await asyncio.to_thread(send)
    after = await api.traces()
    assert before["users"] <= after["users"] <= before["users"] + accepted
    assert {**after, "users": 0} == {**before, "users": 0}


# Starlette leaves the file of a part that never ends to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
async def test_no_form_whatsoever_ends_in_a_5xx_and_refused_ones_leave_nothing(api: Api) -> None:
    loop = asyncio.get_running_loop()
    before = await api.traces()
    parts = st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda name, file, data: (
                f'--b\r\nContent-Disposition: form-data; name="{name}"'.encode("utf-8", "replace")
                + (b'; filename="x"' if file else b"")
                + b"\r\n\r\n"
                + data
                + b"\r\n"
            ),
            st.sampled_from(["user_id", "file", "caption", "category", "other", ""]),
            st.booleans(),
            st.one_of(st.binary(max_size=100), _ids.map(str.encode)),
        ),
    )

    @_settings
    @given(st.lists(parts, max_size=5), st.booleans())
    def send(pieces: list[bytes], closed: bool) -> None:
        body = b"".join(pieces) + (b"--b--\r\n" if closed else b"")
        headers = {"content-type": "multipart/form-data; boundary=b"}
        (answer,) = _on_the_loop([lambda: api.http.post("/upload/", content=body, headers=headers)], loop)
        assert answer.status_code in (404, 413, 415, 422), (body, answer.text)

    await asyncio.to_thread(send)
    assert await api.traces() == before


# Starlette leaves the file of a part that never ends to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
async def test_no_parameter_of_a_header_whatsoever_ends_in_a_5xx(api: Api) -> None:
    loop = asyncio.get_running_loop()
    before = await api.traces()
    # What HTTP lets through: no control characters but the tab.
    text = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=90)
    charset = st.one_of(st.sampled_from(sorted({*encodings.aliases.aliases.values(), *_ODD_CHARSETS})), text)
    boundary = st.one_of(st.just("b"), text)
    quoted = st.sampled_from(["{}", '"{}"'])

    def parameter(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.builds(lambda form, value: f"; {name}={form.format(value)}", quoted, values)

    types = st.lists(st.one_of(parameter("boundary", boundary), parameter("charset", charset), text), max_size=3)
    name = st.one_of(st.sampled_from(["user_id", "file", "caption"]), text)
    dispositions = st.lists(
        st.one_of(
            parameter("name", name),
            parameter("filename", text),
            parameter("name*", st.builds("{}'{}'{}".format, charset, text, text)),
            parameter("filename*", st.builds("{}'{}'{}".format, charset, text, text)),
            text,
        ),
        max_size=4,
    )

    @_settings
    @given(types, dispositions, st.booleans(), st.binary(max_size=40))
    @example(["; boundary=b", "; charset=undefined"], ['; name="caption"'], False, b"x")
    @example(["; boundary=b", "; charset=punycode"], ['; name="caption"'], False, b"\xff")
    def send(parameters: list[str], disposition: list[str], plain: bool, data: bytes) -> None:
        head = "" if plain else "; boundary=b"
        content_type = f"multipart/form-data{head}{''.join(parameters)}".encode("latin-1")
        body = (
            b"--b\r\nContent-Disposition: form-data" + "".join(disposition).encode("latin-1") + b"\r\n\r\n" + data
        ) + b"\r\n--b--\r\n"
        json_type = f"application/json{''.join(parameters)}".encode("latin-1")
        calls = [
            lambda: api.http.post("/upload/", content=body, headers={b"content-type": content_type}),
            lambda: api.http.post("/flags/", content=b"{}", headers={b"content-type": json_type}),
        ]
        for answer in _on_the_loop(calls, loop):
            assert answer.status_code in (400, 413, 415, 422), (content_type, body, answer.text)

    await asyncio.to_thread(send)
    assert await api.traces() == before


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "utf-16", "latin-1", '"undefined"', "no-such"])
async def test_a_form_in_another_charset_than_utf_8_is_422(api: Api, charset: str) -> None:
    before = await api.traces()
    body = b'--b\r\nContent-Disposition: form-data; name="caption"\r\n\r\nsoup\r\n--b--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = await api.http.post("/upload/", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert "utf-8" in answer.json()["detail"][0]["msg"]
    assert await api.traces() == before


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
async def test_a_form_that_says_it_is_utf_8_is_read(api: Api, charset: str) -> None:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="user_id"\r\n\r\n{await api.user()}\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    ).encode() + picture()
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = await api.http.post("/upload/", content=body + b"\r\n--b--\r\n", headers=headers)
    assert answer.status_code == 200, answer.text


async def test_no_path_or_query_whatsoever_ends_in_a_5xx(api: Api) -> None:
    loop = asyncio.get_running_loop()
    before = await api.traces()
    raw = st.binary(min_size=1, max_size=12).map(lambda data: "".join(f"%{byte:02x}" for byte in data))

    @_settings
    @given(raw, raw)
    def send(one: str, other: str) -> None:
        calls = [
            lambda: api.http.post(f"/images/{one}/view"),
            lambda: api.http.get(f"/images/{one}/comments?limit={other}"),
            lambda: api.http.get(f"/images/?before={one}&limit={other}"),
            lambda: api.http.get(f"/{one}"),
        ]
        for answer in _on_the_loop(calls, loop):
            assert answer.status_code in (200, 307, 404, 422), (one, other, answer.text)

    await asyncio.to_thread(send)
    assert await api.traces() == before
