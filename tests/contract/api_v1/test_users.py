"""POST /users/."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.api import NOBODY, Api

pytestmark = pytest.mark.servers

FIELDS = {
    "id",
    "username",
    "tos_version_accepted",
    "tos_accepted_at",
    "country_of_residence",
    "year_of_birth",
    "is_test_account",
    "created_at",
}


async def test_a_new_user_is_stored_and_returned_with_exactly_the_contract_fields(api: Api) -> None:
    username = f"  {uuid.uuid4().hex} "
    body = {
        "username": username,
        "tos_version_accepted": 3,
        "tos_accepted_at": "2026-01-15T14:00:00+02:00",
        "country_of_residence": "DE",
        "year_of_birth": 1990,
        "is_test_account": True,
    }
    answer = await api.http.post("/users/", json=body)
    assert answer.status_code == 200
    user = answer.json()
    assert set(user) == FIELDS
    assert user["username"] == username.strip()
    row = await api.row("SELECT * FROM users WHERE id = $1", user["id"])
    assert row["tos_version_accepted"] == 3
    assert row["tos_accepted_at"] == datetime(2026, 1, 15, 12, tzinfo=UTC)
    assert (row["country_of_residence"], row["year_of_birth"], row["is_test_account"]) == ("DE", 1990, True)
    assert datetime.fromisoformat(user["created_at"]) == row["created_at"]


async def test_only_the_username_is_required(api: Api) -> None:
    user = (await api.http.post("/users/", json={"username": uuid.uuid4().hex})).json()
    assert user["tos_version_accepted"] == 1
    assert user["is_test_account"] is False
    assert user["tos_accepted_at"] is user["country_of_residence"] is user["year_of_birth"] is None


async def test_an_existing_username_returns_the_stored_row_unchanged(api: Api) -> None:
    name = uuid.uuid4().hex
    first = await api.http.post("/users/", json={"username": name, "year_of_birth": 1980})
    second = await api.http.post("/users/", json={"username": name, "year_of_birth": 1999, "is_test_account": True})
    assert second.status_code == 200
    assert second.json() == first.json()


async def test_thirty_parallel_calls_create_one_user(api: Api) -> None:
    name = uuid.uuid4().hex
    bodies = [{"username": name, "year_of_birth": 1970 + number} for number in range(30)]
    answers = await asyncio.gather(*(api.http.post("/users/", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert (await api.row("SELECT count(*) AS n FROM users WHERE username = $1", name))["n"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"username": ""},
        {"username": "   "},
        {"username": "x" * 101},
        {"username": "a\u0000b"},
        {"username": "\u0007bell"},
        {"username": "a\u0085b"},
        {"username": 5},
        {"username": None},
        {"tos_version_accepted": 0},
        {"tos_version_accepted": "1"},
        {"tos_version_accepted": 1.0},
        {"tos_version_accepted": True},
        {"tos_version_accepted": 2**31},
        {"tos_version_accepted": 10**400},
        {"tos_accepted_at": "2999-01-01T00:00:00+00:00"},
        {"tos_accepted_at": 1700000000},
        {"tos_accepted_at": "yesterday"},
        {"tos_accepted_at": "9999-12-31T23:59:59-14:00"},
        {"tos_accepted_at": "0001-01-01T00:00:00+14:00"},
        {"country_of_residence": "usa"},
        {"country_of_residence": "us"},
        {"country_of_residence": "ÄÖ"},
        {"country_of_residence": "US\n"},
        {"username": "line\nbreak"},
        {"username": "carriage\rreturn"},
        {"username": "a\ttab"},
        {"year_of_birth": 1899},
        {"year_of_birth": datetime.now(UTC).year + 1},
        {"year_of_birth": "1990"},
        {"is_test_account": "true"},
        {"is_test_account": 1},
        {"unknown": 1},
        {"id": NOBODY},
    ],
    ids=str,
)
async def test_a_value_outside_its_rule_is_refused_and_leaves_nothing(api: Api, change: dict[str, Any]) -> None:
    before = await api.traces()
    answer = await api.http.post("/users/", json={"username": uuid.uuid4().hex, **change})
    assert answer.status_code == 422
    assert all(problem["msg"] for problem in answer.json()["detail"])
    assert await api.traces() == before


@pytest.mark.parametrize("name", ["x" * 100, " " + "x" * 100 + " ", "Zoë 🍜 Ωmega", "'; DROP TABLE users; --"])
async def test_names_within_the_limits_are_stored_as_they_are(api: Api, name: str) -> None:
    await api.database.execute("DELETE FROM users WHERE username = $1", name.strip())
    answer = await api.http.post("/users/", json={"username": name})
    assert answer.status_code == 200
    assert answer.json()["username"] == name.strip()
