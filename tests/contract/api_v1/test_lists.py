"""GET /images/ and GET /images/{id}/comments."""

import uuid
from datetime import datetime
from urllib.parse import quote

import pytest

from tests.support.api import Api

pytestmark = pytest.mark.servers


async def test_images_are_listed_newest_first_without_deleted_ones(api: Api) -> None:
    user_id = await api.user()
    ids = [await api.image(user_id, category="Egg", caption="no") for _ in range(4)]
    await api.database.execute("UPDATE images SET deleted_at = now() WHERE id = $1", ids[2])
    await api.view(ids[1])
    listed = (await api.http.get("/images/", params={"limit": 3})).json()
    assert [image["id"] for image in listed] == [ids[3], ids[1], ids[0]]
    assert set(listed[0]) == {"id", "user_id", "category", "caption", "views", "created_at"}
    assert [image["views"] for image in listed] == [0, 1, 0]


async def test_before_gives_the_next_page(api: Api) -> None:
    user_id = await api.user()
    ids = [await api.image(user_id) for _ in range(3)]
    (first,) = (await api.http.get("/images/", params={"limit": 1})).json()
    assert first["id"] == ids[2]
    # Escaped, as programs write it, and not escaped, as people type it.
    for before in (quote(first["created_at"]), first["created_at"], first["created_at"].replace("+00:00", "Z")):
        page = (await api.http.get(f"/images/?limit=2&before={before}")).json()
        assert [image["id"] for image in page] == [ids[1], ids[0]]
    naive = datetime.fromisoformat(first["created_at"]).replace(tzinfo=None).isoformat()
    page = (await api.http.get("/images/", params={"before": naive, "limit": 1})).json()
    assert page[0]["id"] == ids[1]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "limit=1.5",
        "before=x",
        "before=1700000000",
        "before=",
        "limit=" + "9" * 5000,
    ],
    ids=lambda query: query[:20],
)
async def test_queries_outside_their_rules_are_422(api: Api, query: str) -> None:
    assert (await api.http.get(f"/images/?{query}")).status_code == 422


async def test_comments_are_listed_without_deleted_and_hidden_ones(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    ids = [(await api.comment(image_id, user_id)).json()["id"] for _ in range(4)]
    await api.database.execute("UPDATE comments SET deleted_at = now() WHERE id = $1", ids[1])
    await api.database.execute("UPDATE comments SET moderator_hidden = TRUE WHERE id = $1", ids[2])
    listed = (await api.http.get(f"/images/{image_id}/comments")).json()
    assert [comment["id"] for comment in listed] == [ids[3], ids[0]]
    assert set(listed[0]) == {"id", "user_id", "created_at"}
    assert len((await api.http.get(f"/images/{image_id}/comments?limit=1")).json()) == 1


async def test_comments_of_an_image_without_any_are_an_empty_list_and_of_an_unknown_one_404(api: Api) -> None:
    image_id = await api.image()
    assert (await api.http.get(f"/images/{image_id}/comments")).json() == []
    assert (await api.http.get(f"/images/{uuid.uuid4()}/comments")).status_code == 404
    assert (await api.http.get("/images/x/comments")).status_code == 422
    await api.database.execute("UPDATE images SET deleted_at = now() WHERE id = $1", image_id)
    assert (await api.http.get(f"/images/{image_id}/comments")).status_code == 404
