"""Requests with the header Idempotency-Key are carried out once."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from api_v1.keyed_writes import KEPT_S, KeyPruner
from gourmetgram.database import pool
from gourmetgram.database.pool import Database
from gourmetgram.settings import PostgresSettings
from tests.support.api import NOBODY, Api, picture, running_api
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

KINDS = ("users", "upload", "view", "comment", "flag")
REPEATED = "Idempotency-Replayed"


class Cast:
    """A user and an image, and one request of each kind about them."""

    def __init__(self, api: Api, user_id: str, image_id: str) -> None:
        self.user_id, self.image_id = user_id, image_id
        self.name = uuid.uuid4().hex
        self.data = picture(seed=1)
        self._http = api.http

    async def send(self, kind: str, key: str | None, *, other: bool = False) -> httpx.Response:
        """Send the request; `other` changes its body or, for a view, its path."""
        headers = {} if key is None else {"Idempotency-Key": key}
        text = "other" if other else "first"
        ids = {"user_id": self.user_id, "image_id": self.image_id}
        if kind == "users":
            return await self._http.post("/users/", json={"username": f"{text} {self.name}"}, headers=headers)
        if kind == "upload":
            form = {"user_id": self.user_id, "caption": text}
            return await self._http.post("/upload/", data=form, files={"file": ("x", self.data)}, headers=headers)
        if kind == "view":
            image_id = NOBODY if other else self.image_id
            return await self._http.post(f"/images/{image_id}/view", headers=headers)
        if kind == "comment":
            return await self._http.post("/comments/", json={**ids, "content": text}, headers=headers)
        return await self._http.post("/flags/", json={**ids, "reason": text}, headers=headers)


@pytest.fixture
async def cast(api: Api) -> Cast:
    """A cast that no other test has."""
    user_id = await api.user()
    return Cast(api, user_id, await api.image(user_id))


@pytest.fixture
def key() -> str:
    """A new key."""
    return str(uuid.uuid4())


async def _difference(api: Api, before: dict[str, int]) -> dict[str, int]:
    return {name: number - before[name] for name, number in (await api.traces()).items() if number != before[name]}


def _once(kind: str, version: int) -> dict[str, int]:
    """Traces of one request of a kind."""
    left = {
        "users": {"users": 1},
        "upload": {"images": 1, "objects": 1, "events": 1},
        "view": {"views": 1, "events": 1},
        "comment": {"comments": 1, "events": 1},
        "flag": {"flags": 1, "events": 1},
    }[kind]
    return {name: number for name, number in left.items() if name != "events" or version == 2}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_that_is_sent_again_with_its_key_gets_the_same_answer_and_writes_nothing(
    api: Api, cast: Cast, key: str, kind: str
) -> None:
    before = await api.traces()
    answers = [await cast.send(kind, key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get(REPEATED) for answer in answers] == [None, "true", "true"]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert await _difference(api, before) == _once(kind, api.version)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_of_another_request_is_422_and_writes_nothing(api: Api, cast: Cast, key: str, kind: str) -> None:
    assert (await cast.send(kind, key)).status_code == 200
    before = await api.traces()
    answer = await cast.send(kind, key, other=True)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    other_kind = KINDS[KINDS.index(kind) - 1]
    assert (await cast.send(other_kind, key)).status_code == 422
    assert await _difference(api, before) == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_many_requests_with_one_key_at_once_write_once(api: Api, cast: Cast, key: str, kind: str) -> None:
    before = await api.traces()
    answers = await asyncio.gather(*(cast.send(kind, key) for _ in range(12)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert await _difference(api, before) == _once(kind, api.version)


async def test_without_a_key_equal_requests_are_kept_apart(api: Api, cast: Cast) -> None:
    before = await api.traces()
    for _ in range(2):
        assert (await cast.send("flag", None)).status_code == 200
    assert (await _difference(api, before))["flags"] == 2


async def test_quotation_marks_around_a_key_do_not_count(api: Api, cast: Cast, key: str) -> None:
    before = await api.traces()
    assert (await cast.send("comment", key)).status_code == 200
    assert (await cast.send("comment", f'"{key}"')).headers[REPEATED] == "true"
    assert (await _difference(api, before))["comments"] == 1


@pytest.mark.parametrize("bad", ["", '""', "a b", "x" * 256, "caf\u00e9", "a\tb"])
async def test_a_key_outside_its_rule_is_422_and_writes_nothing(api: Api, cast: Cast, bad: str) -> None:
    before = await api.traces()
    for kind in KINDS:
        url = {"users": "/users/", "upload": "/upload/", "comment": "/comments/", "flag": "/flags/"}
        request = api.http.build_request("POST", url.get(kind, f"/images/{cast.image_id}/view"), **_body(cast, kind))
        request.headers = httpx.Headers([*request.headers.raw, (b"Idempotency-Key", bad.encode("latin-1"))])
        answer = await api.http.send(request)
        assert answer.status_code == 422, (kind, answer.text)
    assert await _difference(api, before) == {}


def _body(cast: Cast, kind: str) -> dict[str, Any]:
    ids = {"user_id": cast.user_id, "image_id": cast.image_id}
    bodies: dict[str, dict[str, Any]] = {
        "users": {"json": {"username": uuid.uuid4().hex}},
        "upload": {"data": {"user_id": cast.user_id}, "files": {"file": ("x", cast.data)}},
        "view": {},
        "comment": {"json": {**ids, "content": "x"}},
        "flag": {"json": {**ids, "reason": "x"}},
    }
    return bodies[kind]


async def test_two_keys_in_one_request_are_422(api: Api, cast: Cast, key: str) -> None:
    headers = [("Idempotency-Key", key), ("Idempotency-Key", key)]
    answer = await api.http.post(f"/images/{cast.image_id}/view", headers=headers)
    assert answer.status_code == 422


async def test_a_key_of_the_greatest_length_works(api: Api, cast: Cast) -> None:
    long = (uuid.uuid4().hex * 8)[:255]
    assert (await cast.send("view", long)).status_code == 200
    assert (await cast.send("view", long)).headers[REPEATED] == "true"


async def test_a_refusal_by_the_rows_is_repeated_too(api: Api, key: str) -> None:
    user_id, image_id = await api.user(), await api.image()
    await api.database.execute("UPDATE images SET deleted_at = now() WHERE id = $1", image_id)
    headers = {"Idempotency-Key": key}
    body = {"user_id": user_id, "image_id": image_id, "content": "yum"}
    first = await api.http.post("/comments/", json=body, headers=headers)
    await api.database.execute("UPDATE images SET deleted_at = NULL WHERE id = $1", image_id)
    second = await api.http.post("/comments/", json=body, headers=headers)
    assert (first.status_code, second.status_code) == (404, 404)
    assert first.content == second.content


async def test_a_refusal_of_a_body_does_not_use_up_the_key(api: Api, cast: Cast, key: str) -> None:
    headers = {"Idempotency-Key": key}
    assert (await api.http.post("/comments/", json={"content": ""}, headers=headers)).status_code == 422
    assert (await cast.send("comment", key)).status_code == 200


async def test_a_file_that_is_no_image_does_not_use_up_the_key(api: Api, cast: Cast, key: str) -> None:
    form = {"user_id": cast.user_id}
    answer = await api.http.post("/upload/", data=form, files={"file": ("x", b"x")}, headers={"Idempotency-Key": key})
    assert answer.status_code == 415
    assert (await cast.send("upload", key)).status_code == 200


async def test_an_existing_user_name_is_answered_with_the_stored_user_under_any_key(api: Api, cast: Cast) -> None:
    answers = await asyncio.gather(*(cast.send("users", str(uuid.uuid4())) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.fixture
async def locked(api: Api, cast: Cast) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The image's row and the users' table are locked until the call, or the test's end."""
    blocker = await asyncpg.connect(api.environment["DATABASE_URL"])
    await blocker.execute("BEGIN")
    await blocker.execute("SELECT FROM images WHERE id = $1 FOR UPDATE", uuid.UUID(cast.image_id))
    yield lambda: blocker.execute("ROLLBACK")
    await blocker.close()


async def _waits_for_lock(api: Api) -> bool:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'api_keyed' AND wait_event_type = 'Lock'"
    return bool(await api.database.fetchval(f"{sql} AND datname = current_database()"))


async def test_a_key_whose_request_is_in_flight_is_409_in_every_process(
    api: Api, cast: Cast, key: str, locked: Callable[[], Awaitable[None]]
) -> None:
    before = await api.traces()
    first = asyncio.create_task(cast.send("view", key))
    await wait_until_async(lambda: _waits_for_lock(api), what="the first request at its lock")
    async with running_api(api.version, api.environment) as second_process:
        other = Cast(second_process, cast.user_id, cast.image_id)
        answers = [await other.send("view", key), await cast.send("view", key)]
        assert [answer.status_code for answer in answers] == [409, 409]
        assert answers[0].json()["detail"].startswith("A request with this Idempotency-Key is in progress.")
        await locked()
        answer = await first
        assert answer.status_code == 200
        repeated = await other.send("view", key)
    assert (repeated.status_code, repeated.content) == (200, answer.content)
    assert (await _difference(api, before))["views"] == 1


async def test_a_request_that_got_503_is_carried_out_by_its_repetition(
    api: Api, cast: Cast, key: str, locked: Callable[[], Awaitable[None]]
) -> None:
    before = await api.traces()
    assert (await cast.send("view", key)).status_code == 503
    assert await _difference(api, before) == {}
    await locked()
    assert [(await cast.send("view", key)).status_code for _ in range(2)] == [200, 200]
    assert await _difference(api, before) == _once("view", api.version)


async def test_an_upload_that_waits_for_the_store_holds_its_key_but_no_transaction(
    api: Api, cast: Cast, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = api.services
    assert services is not None
    put, reached, go_on = services.objects.put, asyncio.Event(), asyncio.Event()

    async def slow_put(*arguments: Any) -> None:
        reached.set()
        await go_on.wait()
        await put(*arguments)

    monkeypatch.setattr(services.objects, "put", slow_put)
    before = await api.traces()
    first = asyncio.create_task(cast.send("upload", key))
    await reached.wait()
    assert (await cast.send("upload", key)).status_code == 409
    states = await api.database.fetch(
        "SELECT state FROM pg_stat_activity WHERE application_name = 'api_keyed' AND datname = current_database()"
    )
    assert {state["state"] for state in states} == {"idle"}
    go_on.set()
    assert (await first).status_code == 200
    assert await _difference(api, before) == _once("upload", api.version)


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_is_lost_at_the_commit_leads_to_one_row_and_its_answer(
    api: Api, cast: Cast, key: str, kind: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = pool._Connection.execute
    lost: list[str] = []

    async def lossy(connection: Any, script: str, **options: Any) -> Any:
        if script != "COMMIT" or lost:
            return await execute(connection, script, **options)
        lost.append(script)
        if committed:
            await execute(connection, script, **options)
        connection.terminate()
        raise ConnectionResetError("lost")

    monkeypatch.setattr(pool._Connection, "execute", lossy)
    before = await api.traces()
    answers = [await cast.send(kind, key) for _ in range(2)]
    assert lost
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    expected = _once(kind, api.version)
    if not committed and kind == "upload":
        # The sweeper removes the picture of the first attempt.
        expected["objects"] = 2
    if not committed and "events" in expected:
        # A transaction that is rolled back uses up a number of the outbox.
        expected["events"] = 2
    assert await _difference(api, before) == expected
    if kind == "upload":
        assert answers[0].json()["s3_url"].rpartition("/")[2] in await asyncio.to_thread(api.object_keys)


async def test_an_answer_is_forgotten_after_a_day(api: Api, cast: Cast, key: str) -> None:
    first = await cast.send("view", key)
    await _age(api, key, KEPT_S - 60)
    assert (await cast.send("view", key)).content == first.content
    await _age(api, key, 61)
    later = await cast.send("view", key)
    assert REPEATED not in later.headers
    assert later.json()["views"] == first.json()["views"] + 1
    assert (await cast.send("view", key)).content == later.content


async def test_old_answers_are_deleted_and_young_ones_stay(api: Api, cast: Cast, key: str) -> None:
    old = str(uuid.uuid4())
    for each in (key, old):
        assert (await cast.send("comment", each)).status_code == 200
    await _age(api, old, KEPT_S + 1)
    database = Database(PostgresSettings(database_url=api.environment["DATABASE_URL"]), "test")
    await database.start()
    await KeyPruner(database).prune()
    await database.stop()
    keys = {row["key"] for row in await api.database.fetch("SELECT key FROM idempotency_keys")}
    assert (key in keys, old in keys) == (True, False)


async def _age(api: Api, key: str, seconds: float) -> None:
    changed = await api.database.execute(
        "UPDATE idempotency_keys SET created_at = created_at - make_interval(secs => $2) WHERE key = $1", key, seconds
    )
    assert changed == "UPDATE 1"


async def test_the_description_names_the_header_for_every_post(api: Api) -> None:
    description = (await api.http.get("/openapi.json")).json()
    posts = [path["post"] for path in description["paths"].values() if "post" in path]
    names = Counter(
        parameter["name"] for post in posts for parameter in post["parameters"] if parameter["in"] == "header"
    )
    assert len(posts) == len(KINDS)
    assert names == {"Idempotency-Key": len(posts)}
    assert all("409" in post["responses"] for post in posts)
