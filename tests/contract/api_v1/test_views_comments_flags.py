"""POST /images/{id}/view, /comments/ and /flags/."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.api import NOBODY, Api

pytestmark = pytest.mark.servers

COMMENT_FIELDS = {
    "id",
    "image_id",
    "user_id",
    "content",
    "moderator_hidden",
    "moderator_action_id",
    "deleted_at",
    "created_at",
}
FLAG_FIELDS = {
    "id",
    "user_id",
    "image_id",
    "comment_id",
    "reason",
    "moderation_action_id",
    "review_status",
    "resolved_at",
    "created_at",
}


async def _delete(api: Api, table: str, row_id: str) -> None:
    await api.database.execute(f"UPDATE {table} SET deleted_at = now() WHERE id = $1", row_id)


# --- views ------------------------------------------------------------------------------------------------------------


async def test_each_of_many_parallel_views_gets_its_own_total(api: Api) -> None:
    one, other = await api.image(), await api.image()
    answers = await asyncio.gather(*(api.view(one if number % 3 else other) for number in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    for image_id, number in ((one, 40), (other, 20)):
        totals = [a.json()["views"] for a in answers if a.url.path.split("/")[2] == image_id]
        assert sorted(totals) == list(range(1, number + 1))
        assert (await api.row("SELECT views FROM images WHERE id = $1", image_id))["views"] == number


async def test_a_view_of_an_unknown_or_deleted_image_fails_alone(api: Api) -> None:
    good, deleted = await api.image(), await api.image()
    await _delete(api, "images", deleted)
    targets = [good, str(uuid.uuid4()), deleted] * 10
    answers = await asyncio.gather(*(api.view(target) for target in targets))
    assert [answer.status_code for answer in answers] == [200, 404, 404] * 10
    assert answers[1].json() == answers[2].json() == {"detail": "Image not found"}
    assert answers[0].json()["status"] == "ok"
    assert (await api.row("SELECT views FROM images WHERE id = $1", deleted))["views"] == 0


async def test_an_image_whose_views_are_null_starts_at_one(api: Api) -> None:
    image_id = await api.image()
    await api.database.execute("UPDATE images SET views = NULL WHERE id = $1", image_id)
    assert (await api.view(image_id)).json()["views"] == 1


@pytest.mark.parametrize("image_id", ["1", "x" * 36, NOBODY.replace("-", ""), "%00", "%ED%A0%80", "{" + NOBODY + "}"])
async def test_a_view_of_something_that_is_no_uuid_is_422(api: Api, image_id: str) -> None:
    assert (await api.http.post(f"/images/{image_id}/view")).status_code == 422


async def test_an_image_id_in_capitals_is_the_same_image(api: Api) -> None:
    image_id = await api.image()
    assert (await api.view(image_id.upper())).json()["views"] == 1


# --- comments ---------------------------------------------------------------------------------------------------------


async def test_a_comment_is_stored_as_it_was_sent(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    content = "  Ümläut 🍣\nsecond line\t'quoted' \"twice\" \\ %s {} "
    answer = await api.comment(image_id.upper(), user_id, content)
    assert answer.status_code == 200
    comment = answer.json()
    assert set(comment) == COMMENT_FIELDS
    row = await api.row("SELECT * FROM comments WHERE id = $1", comment["id"])
    assert row["content"] == comment["content"] == content
    assert (
        (str(row["image_id"]), str(row["user_id"])) == (image_id, user_id) == (comment["image_id"], comment["user_id"])
    )
    assert datetime.fromisoformat(comment["created_at"]) == row["created_at"]
    assert comment["moderator_hidden"] is row["moderator_hidden"] is False
    assert comment["moderator_action_id"] is comment["deleted_at"] is None
    assert row["actor_eligible"] is True


async def test_comments_at_the_same_time_are_answered_each_with_their_own_row(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.count("comments")
    calls = []
    for number in range(30):
        calls.append(api.comment(image_id, user_id, f"comment {number}"))
        calls.append(api.comment(str(uuid.uuid4()), user_id))
        calls.append(api.comment(image_id, str(uuid.uuid4())))
    answers = await asyncio.gather(*calls)
    assert [answer.status_code for answer in answers] == [200, 404, 404] * 30
    assert answers[1].json() == {"detail": "Image not found"}
    assert answers[2].json() == {"detail": "User not found"}
    assert await api.count("comments") == before + 30
    for number, answer in enumerate(answers[::3]):
        row = await api.row("SELECT content FROM comments WHERE id = $1", answer.json()["id"])
        assert row["content"] == f"comment {number}"


async def test_a_comment_on_a_deleted_image_is_404(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    await _delete(api, "images", image_id)
    answer = await api.comment(image_id, user_id)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Image not found"})


@pytest.mark.parametrize(
    "change",
    [
        {"content": ""},
        {"content": " \n\t "},
        {"content": "x" * 5001},
        {"content": "a\u0000"},
        {"content": "a\u001b[31m"},
        {"content": 7},
        {"content": None},
        {"content": ["x"]},
        {"image_id": "x"},
        {"image_id": None},
        {"image_id": NOBODY.replace("-", "")},
        {"user_id": "urn:uuid:" + NOBODY},
        {"moderator_hidden": True},
    ],
    ids=lambda change: str(change)[:40],
)
async def test_a_comment_outside_its_rules_is_422_and_leaves_nothing(api: Api, change: dict[str, Any]) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.traces()
    answer = await api.http.post(
        "/comments/", json={"image_id": image_id, "user_id": user_id, "content": "yum", **change}
    )
    assert answer.status_code == 422, answer.text
    assert await api.traces() == before


async def test_a_comment_of_5000_characters_is_taken(api: Api) -> None:
    user_id = await api.user()
    answer = await api.comment(await api.image(user_id), user_id, "🍜" * 5000)
    assert answer.status_code == 200
    assert (await api.row("SELECT length(content) FROM comments WHERE id = $1", answer.json()["id"]))["length"] == 5000


# --- flags ------------------------------------------------------------------------------------------------------------


async def test_an_image_a_comment_and_both_can_be_flagged(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    comment_id = (await api.comment(image_id, user_id)).json()["id"]
    for target in (
        {"image_id": image_id},
        {"comment_id": comment_id},
        {"image_id": image_id, "comment_id": comment_id},
        {"image_id": image_id, "comment_id": None},
    ):
        answer = await api.flag(user_id=user_id, **target)
        assert answer.status_code == 200, answer.text
        flag = answer.json()
        assert set(flag) == FLAG_FIELDS
        assert (flag["image_id"], flag["comment_id"]) == (target.get("image_id"), target.get("comment_id"))
        assert flag["review_status"] == "pending"
        assert flag["moderation_action_id"] is flag["resolved_at"] is None
        row = await api.row("SELECT * FROM flags WHERE id = $1", flag["id"])
        assert row["reason"] == flag["reason"] == "not food"
        assert row["review_status"] == "pending"
        assert datetime.fromisoformat(flag["created_at"]) == row["created_at"]
        assert str(row["image_id"] or None) == str(target.get("image_id"))


async def test_repeated_flags_are_separate_rows(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    answers = await asyncio.gather(*(api.flag(user_id=user_id, image_id=image_id) for _ in range(5)))
    assert len({answer.json()["id"] for answer in answers}) == 5


async def test_a_flag_without_a_target_is_400(api: Api) -> None:
    before = await api.traces()
    assert (await api.flag(user_id=str(uuid.uuid4()))).status_code == 400
    assert (await api.flag(user_id=str(uuid.uuid4()), image_id=None, comment_id=None)).status_code == 400
    assert await api.traces() == before


async def test_a_flag_whose_comment_belongs_to_another_image_is_422(api: Api) -> None:
    user_id = await api.user()
    one, other = await api.image(user_id), await api.image(user_id)
    comment_id = (await api.comment(one, user_id)).json()["id"]
    before = await api.traces()
    answer = await api.flag(user_id=user_id, image_id=other, comment_id=comment_id)
    assert answer.status_code == 422
    assert "another image" in answer.text
    assert await api.traces() == before


async def test_flags_on_what_does_not_exist_any_more_are_404(api: Api) -> None:
    user_id = await api.user()
    image_id, gone = await api.image(user_id), await api.image(user_id)
    comments = [(await api.comment(image_id, user_id)).json()["id"] for _ in range(2)]
    orphan = (await api.comment(gone, user_id)).json()["id"]
    await _delete(api, "images", gone)
    await _delete(api, "comments", comments[0])
    await api.database.execute("UPDATE comments SET moderator_hidden = TRUE WHERE id = $1", comments[1])
    before = await api.traces()
    unknown = str(uuid.uuid4())
    for fields, sentence in (
        ({"user_id": unknown, "image_id": image_id}, "User not found"),
        ({"user_id": user_id, "image_id": unknown}, "Image not found"),
        ({"user_id": user_id, "image_id": gone}, "Image not found"),
        ({"user_id": user_id, "comment_id": unknown}, "Comment not found"),
        ({"user_id": user_id, "comment_id": comments[0]}, "Comment not found"),
        ({"user_id": user_id, "comment_id": comments[1]}, "Comment not found"),
        ({"user_id": user_id, "comment_id": orphan}, "Comment not found"),
        ({"user_id": user_id, "comment_id": unknown, "image_id": image_id}, "Comment not found"),
    ):
        answer = await api.flag(**fields)
        assert (answer.status_code, answer.json()) == (404, {"detail": sentence}), fields
    assert await api.traces() == before


@pytest.mark.parametrize(
    "change",
    [
        {"reason": ""},
        {"reason": "x" * 1001},
        {"reason": "a\u0000"},
        {"reason": 1},
        {"comment_id": 3},
        {"review_status": "x"},
    ],
    ids=lambda change: str(change)[:40],
)
async def test_a_flag_outside_its_rules_is_422(api: Api, change: dict[str, Any]) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.traces()
    answer = await api.flag(**{"user_id": user_id, "image_id": image_id, **change})
    assert answer.status_code == 422
    assert await api.traces() == before


# --- who counts, and when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "eligible"),
    [
        ({}, True),
        ({"year_of_birth": None}, True),
        ({"is_test_account": True}, False),
        ({"year_of_birth": datetime.now(UTC).year - 18}, False),
        ({"year_of_birth": datetime.now(UTC).year - 19}, True),
        ({"year_of_birth": 1950, "is_test_account": True}, False),
    ],
    ids=str,
)
async def test_rows_carry_whether_their_actor_counts(api: Api, fields: dict[str, Any], eligible: bool) -> None:
    user_id = await api.user(**fields)
    image_id = await api.image(user_id)
    comment = (await api.comment(image_id, user_id)).json()
    flag = (await api.flag(user_id=user_id, image_id=image_id)).json()
    for table, row_id in (("comments", comment["id"]), ("flags", flag["id"])):
        row = await api.row(f"SELECT actor_eligible FROM {table} WHERE id = $1", row_id)
        assert row["actor_eligible"] is eligible


async def test_event_times_are_distinct_within_a_batch_and_taken_by_the_database(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.database.fetchval("SELECT clock_timestamp()")
    await asyncio.gather(*(api.comment(image_id, user_id) for _ in range(40)))
    after = await api.database.fetchval("SELECT clock_timestamp()")
    rows = await api.database.fetch("SELECT created_at FROM comments WHERE image_id = $1", image_id)
    times = [row["created_at"] for row in rows]
    assert len(set(times)) == 40
    assert before < min(times)
    assert max(times) < after
