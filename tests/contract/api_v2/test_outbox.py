"""The events of version 2: what each request sends, and that rows and events come together or not at all."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from gourmetgram.events import Event, Record, parse_event
from tests.support.api import Api, picture
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers


def _time(event: dict[str, Any], field: str) -> datetime:
    moment = datetime.fromisoformat(event[field])
    assert moment.utcoffset() == timedelta(0)
    assert event[field].endswith("+00:00")
    return moment


async def _outbox_is_empty(api: Api) -> None:
    async def empty() -> bool:
        return await api.waiting() == 0

    await wait_until_async(empty, what="an empty outbox")


async def test_an_upload_sends_its_event(api_v2: Api) -> None:
    user_id = await api_v2.user()
    image = (await api_v2.upload(user_id, picture(), caption="Ramen", category="Soup")).json()
    (event,) = await api_v2.events("upload", image["id"])
    assert _time(event, "created_at") == datetime.fromisoformat(image["created_at"])
    assert uuid.UUID(event.pop("event_id"))
    del event["created_at"]
    assert event == {
        "event_type": "upload",
        "image_id": image["id"],
        "user_id": user_id,
        "category": "Soup",
        "caption": "Ramen",
        "s3_url": image["s3_url"],
        "actor_eligible": True,
    }


async def test_absent_texts_are_null_in_the_event(api_v2: Api) -> None:
    image_id = await api_v2.image()
    (event,) = await api_v2.events("upload", image_id)
    assert event["caption"] is None
    assert event["category"] is None


async def test_views_send_one_event_each_without_a_user(api_v2: Api) -> None:
    image_id = await api_v2.image()
    await asyncio.gather(*(api_v2.view(image_id) for _ in range(25)))
    events = await api_v2.events("view", image_id, 25)
    assert len({event["event_id"] for event in events}) == len(events) == 25
    assert all(set(event) == {"event_type", "event_id", "image_id", "viewed_at", "actor_eligible"} for event in events)
    assert all(event["actor_eligible"] is True for event in events)
    times = [_time(event, "viewed_at") for event in events]
    assert times == sorted(set(times))


async def test_a_comment_sends_its_event_with_the_rows_values(api_v2: Api) -> None:
    user_id = await api_v2.user(is_test_account=True)
    image_id = await api_v2.image(user_id)
    comment = (await api_v2.comment(image_id, user_id, 'Ü "quoted" \n 🍜')).json()
    (event,) = await api_v2.events("comment", image_id)
    assert _time(event, "created_at") == datetime.fromisoformat(comment["created_at"])
    del event["event_id"], event["created_at"]
    assert event == {
        "event_type": "comment",
        "comment_id": comment["id"],
        "image_id": image_id,
        "user_id": user_id,
        "content": 'Ü "quoted" \n 🍜',
        "actor_eligible": False,
    }


async def test_a_flag_of_a_comment_sends_the_comments_image(api_v2: Api) -> None:
    user_id = await api_v2.user(year_of_birth=datetime.now(UTC).year - 10)
    image_id = await api_v2.image(user_id)
    comment_id = (await api_v2.comment(image_id, user_id)).json()["id"]
    flag = (await api_v2.flag(user_id=user_id, comment_id=comment_id)).json()
    (event,) = await api_v2.events("flag", image_id)
    assert _time(event, "created_at") == datetime.fromisoformat(flag["created_at"])
    del event["event_id"], event["created_at"]
    assert event == {
        "event_type": "flag",
        "flag_id": flag["id"],
        "user_id": user_id,
        "image_id": image_id,
        "comment_id": comment_id,
        "reason": "not food",
        "actor_eligible": False,
    }


async def test_an_events_eligibility_is_its_rows(api_v2: Api) -> None:
    for fields in ({"is_test_account": True}, {}, {"year_of_birth": datetime.now(UTC).year - 18}):
        user_id = await api_v2.user(**fields)
        image_id = await api_v2.image(user_id)
        flag_id = (await api_v2.flag(user_id=user_id, image_id=image_id)).json()["id"]
        (event,) = await api_v2.events("flag", image_id)
        row = await api_v2.row("SELECT actor_eligible FROM flags WHERE id = $1", flag_id)
        assert event["actor_eligible"] is row["actor_eligible"]


async def test_every_event_is_one_that_the_platform_reads(api_v2: Api) -> None:
    user_id = await api_v2.user()
    image_id = await api_v2.image(user_id)
    await api_v2.view(image_id)
    await api_v2.comment(image_id, user_id)
    await api_v2.flag(user_id=user_id, image_id=image_id)
    for kind in ("upload", "view", "comment", "flag"):
        (message,) = await api_v2.events(kind, image_id)
        event = parse_event(Record("topic", 0, 0, 2**60, orjson.dumps(message)))
        assert isinstance(event, Event)
        assert (event.kind, event.image_id, event.event_id) == (kind, image_id, message["event_id"])


async def test_one_event_for_each_row_and_none_for_refused_requests(api_v2: Api) -> None:
    user_id = await api_v2.user()
    image_id = await api_v2.image(user_id)
    calls = []
    for number in range(20):
        calls.append(api_v2.comment(image_id, user_id, str(number)))
        calls.append(api_v2.comment(str(uuid.uuid4()), user_id))
        calls.append(api_v2.flag(user_id=user_id, image_id=image_id))
        calls.append(api_v2.flag(user_id=str(uuid.uuid4()), image_id=image_id))
    await asyncio.gather(*calls)
    await _outbox_is_empty(api_v2)
    for kind, key in (("comment", "comment_id"), ("flag", "flag_id")):
        events = await api_v2.events(kind, image_id, 20)
        rows = await api_v2.database.fetch(f"SELECT id FROM {kind}s WHERE image_id = $1", image_id)
        assert sorted(event[key] for event in events) == sorted(str(row["id"]) for row in rows)


async def test_no_row_without_its_event(api_v2: Api) -> None:
    """When the outbox refuses the event, the row is not written either, and the request says so."""
    user_id = await api_v2.user()
    image_id = await api_v2.image(user_id)
    await _outbox_is_empty(api_v2)
    before = await api_v2.traces()
    await api_v2.database.execute("ALTER TABLE event_outbox ADD CONSTRAINT closed CHECK (topic = '') NOT VALID")
    try:
        assert (await api_v2.comment(image_id, user_id)).status_code == 503
        assert (await api_v2.view(image_id)).status_code == 503
        assert (await api_v2.flag(user_id=user_id, image_id=image_id)).status_code == 503
        assert (await api_v2.upload(user_id, picture())).status_code == 503
    finally:
        await api_v2.database.execute("ALTER TABLE event_outbox DROP CONSTRAINT closed")

    async def as_before() -> bool:
        after = await api_v2.traces()
        # Numbers drawn by refused rows are not given again; the rows themselves are none.
        return {**after, "events": 0} == {**before, "events": 0} and await api_v2.waiting() == 0

    await wait_until_async(as_before, what="no trace of the refused requests, the object included")
    assert (await api_v2.comment(image_id, user_id)).status_code == 200


async def test_health_counts_acknowledged_events_and_those_that_wait(api_v2: Api) -> None:
    async def stats() -> Any:
        return (await api_v2.http.get("/health")).json()["kafka_stats"]

    await _outbox_is_empty(api_v2)
    before = await stats()
    image_id = await api_v2.image()
    await asyncio.gather(*(api_v2.view(image_id) for _ in range(10)))

    async def counted() -> bool:
        now = await stats()
        return (now["total_events"], now["outbox_pending"]) == (before["total_events"] + 11, 0)

    await wait_until_async(counted, what="eleven acknowledged events")
    now = await stats()
    assert now["total_events"] == sum(now["events_by_topic"].values())
    assert set(now["events_by_topic"]) <= {
        api_v2.environment[f"KAFKA_TOPIC_{kind}S"] for kind in ("UPLOAD", "VIEW", "COMMENT", "FLAG")
    }
