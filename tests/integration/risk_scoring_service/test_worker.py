"""The scorer on real servers: one row per valid request, a dead letter or nothing for others."""

import logging
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import orjson
import pytest
import redis

from gourmetgram.clients.redis_servers import server_of_image
from gourmetgram.events import Record, record_uuid
from gourmetgram.redis_keys import LAYOUT
from gourmetgram.windows import COUNT_NAMES
from tests.support.scoring import (
    NOON,
    People,
    Requests,
    by_request,
    make_request,
    microseconds,
    running_scorer,
)
from tests.support.topics import without_topic
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


def raw(**fields: object) -> bytes:
    return orjson.dumps(fields)


def test_a_request_sent_before_the_first_start_gets_its_row(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    request = make_request(people.image(), views_5min=110, views_1hr=110)
    requests.send(request)
    with running_scorer(scorer_environment):
        row = wait_until(lambda: people.decision(request.request_id))
        wait_until(lambda: requests.committed() == 1)
    assert row["risk_score"] == 0.2


def test_a_request_has_one_row_however_often_it_is_delivered(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    request, last = make_request(people.image()), make_request(people.image())
    with running_scorer(scorer_environment):
        requests.send(request, request, request)
        wait_until(lambda: people.decision(request.request_id))
        requests.send(request, last)
        wait_until(lambda: requests.committed() == 5)
    # Everything again, with another group: as after a lost commit.
    with running_scorer({**scorer_environment, "KAFKA_CONSUMER_GROUP": requests.group + "-again"}):
        again = Requests(requests.settings, requests.group + "-again")
        wait_until(lambda: again.committed() == 5)
    # A repetition is no mistake.
    requests.send(b"{")
    with running_scorer(scorer_environment), requests.dead_letters() as dead:
        (letter,) = wait_until(lambda: dead.at_least(1))
    assert "not JSON" in letter["error"]
    stored = [row["inference_request_id"] for row in people.decisions()]
    assert stored.count(request.request_id) == 1
    assert stored.count(last.request_id) == 1


def test_missing_fields_get_the_contracts_defaults(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    image = people.image()
    with running_scorer(scorer_environment):
        requests.send(raw(image_id=image.upper()))
        row = wait_until(lambda: [row for row in people.decisions() if str(row["target_id"]) == image])[0]
    assert row["trigger_type"] == "unknown"
    # Without a key it went to any partition, as its first record.
    topic = scorer_environment["MODERATION_TOPIC"]
    first_places = [record_uuid(Record(topic, partition, 0, 0, None)) for partition in range(4)]
    assert row["inference_request_id"] in first_places
    # As of the broker's time, months after the upload.
    assert row["features"]["time_since_upload_seconds"] > 86_400


MALFORMED = {
    "no value": None,
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"image_id": "\xff"}',
    "not an object": b"[]",
    "no image": raw(trigger="viral"),
    "image is no UUID": raw(image_id="42"),
    "image without hyphens": raw(image_id=uuid.uuid4().hex),
    "image is a number": raw(image_id=42),
    "trigger is a number": raw(image_id=str(uuid.uuid4()), trigger=1),
    "trigger is empty": raw(image_id=str(uuid.uuid4()), trigger=""),
    "trigger is too long": raw(image_id=str(uuid.uuid4()), trigger="x" * 31),
    "trigger has a NUL": raw(image_id=str(uuid.uuid4()), trigger="\0"),
    "context is a list": raw(image_id=str(uuid.uuid4()), context=[1]),
}


def test_malformed_requests_become_dead_letters_and_hold_up_nobody(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    good = [make_request(people.image()) for _ in range(4)]
    rows_before = len(people.decisions())
    with running_scorer(scorer_environment), requests.dead_letters() as dead:
        requests.send(good[0], *MALFORMED.values(), *good[1:])
        letters = wait_until(lambda: dead.at_least(len(MALFORMED)))
        wait_until(lambda: requests.committed() == len(MALFORMED) + len(good))
    assert {request.request_id for request in good} <= by_request(people.decisions()).keys()
    assert len(people.decisions()) == rows_before + len(good)
    assert len(letters) == len(MALFORMED)
    for letter in letters:
        assert letter["topic"] == scorer_environment["MODERATION_TOPIC"]
        assert letter["consumer_group"] == scorer_environment["KAFKA_CONSUMER_GROUP"]
        assert letter["error"]


UNUSABLE_VALUES: dict[str, dict[str, Any]] = {
    "time is text": {"timestamp": "yesterday"},
    "time is huge": {"timestamp": 1e300},
    "time is true": {"timestamp": True},
    "id is no UUID": {"request_id": "me"},
    "counts are huge": {"context": dict.fromkeys(COUNT_NAMES, 2**63)},
    "counts are negative": {"context": dict.fromkeys(COUNT_NAMES, -1)},
    "counts are text": {"context": dict.fromkeys(COUNT_NAMES, "7")},
    "year 1": {"timestamp": -62_135_596_800},
    "year 9999": {"timestamp": 253_402_300_799},
}


@pytest.mark.parametrize("fields", UNUSABLE_VALUES.values(), ids=UNUSABLE_VALUES.keys())
def test_values_that_cannot_be_used_count_as_missing_and_the_image_is_still_judged(
    scorer_environment: dict[str, str], people: People, requests: Requests, fields: dict[str, Any]
) -> None:
    image = people.image()
    with running_scorer(scorer_environment):
        requests.send(raw(image_id=image, **fields))
        (row,) = wait_until(lambda: [row for row in people.decisions() if str(row["target_id"]) == image])
    assert row["risk_score"] == 0.0


def test_an_unknown_image_is_given_up_in_time_while_later_requests_go_on(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    unknown, known = make_request(str(uuid.uuid4())), make_request(people.image())
    with running_scorer(scorer_environment), requests.dead_letters() as dead:
        requests.send(unknown, known)
        wait_until(lambda: people.decision(known.request_id))
        assert dead.seen == []
        (letter,) = wait_until(lambda: dead.at_least(1))
        wait_until(lambda: requests.committed() == 2)
    assert unknown.image_id in letter["error"]
    assert people.decision(unknown.request_id) is None


def test_an_image_whose_row_comes_late_is_judged(
    scorer_environment: dict[str, str], people: People, requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    image = str(uuid.uuid4())
    request = make_request(image)
    with running_scorer({**scorer_environment, "UNKNOWN_IMAGE_WAIT": "30"}):
        requests.send(request)
        wait_until(lambda: "is not known yet" in caplog.text)
        people.image(id=image)
        wait_until(lambda: people.decision(request.request_id))


def test_a_request_that_waits_is_read_again_after_a_restart(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    image = str(uuid.uuid4())
    late, others = make_request(image), [make_request(people.image()) for _ in range(8)]
    patient = {**scorer_environment, "UNKNOWN_IMAGE_WAIT": "30"}
    with running_scorer(patient):
        requests.send(late, *others)
        wait_until(lambda: all(people.decision(request.request_id) for request in others))
    # What came after the one that waits in its partition is not committed either.
    assert requests.committed() < 9
    people.image(id=image)
    with running_scorer(patient):
        wait_until(lambda: people.decision(late.request_id))
        wait_until(lambda: requests.committed() == 9)
    for request in others:
        assert people.decision(request.request_id)


def test_an_image_deleted_at_or_before_the_requests_time_gets_no_row(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    at = NOON + timedelta(minutes=5)
    gone = make_request(people.image(deleted_at=at), at)
    still_there = make_request(people.image(deleted_at=at + timedelta(microseconds=1)), at)
    with running_scorer(scorer_environment), requests.dead_letters() as dead:
        requests.send(gone, still_there)
        wait_until(lambda: people.decision(still_there.request_id))
        wait_until(lambda: requests.committed() == 2)
        assert dead.at_least(1) == []
    assert people.decision(gone.request_id) is None


def test_one_value_that_postgresql_refuses_is_a_dead_letter_of_its_own(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    """An uploader who registered at infinity has no age: only somebody with a database console can do that."""
    eternal = make_request(people.image(user_id=people.user(created_at="-infinity")))
    others = [make_request(people.image()) for _ in range(3)]
    requests.send(others[0], eternal, *others[1:])
    with running_scorer(scorer_environment), requests.dead_letters() as dead:
        (letter,) = wait_until(lambda: dead.at_least(1))
        wait_until(lambda: requests.committed() == 4)
    assert "PostgreSQL refuses" in letter["error"]
    assert {request.request_id for request in others} <= by_request(people.decisions()).keys()


def add_events(client: redis.Redis, image: str, ages_us: list[int], kind: str = "views") -> None:
    """Events of an image that happened so long before NOON (negative: after it), as the stream consumer keeps them."""
    for age_us in ages_us:
        moment = f"{(microseconds(NOON) - age_us) / 1_000_000:.6f}"
        client.zadd(f"image:{image}:{kind}:1hr", {f"{kind}:{moment}:{uuid.uuid4().hex[:8]}": float(moment)})


def test_counts_come_from_redis_as_of_the_request_when_its_context_is_incomplete(
    scorer_environment: dict[str, str], people: People, requests: Requests, redis_client: redis.Redis
) -> None:
    image = people.image()
    five_minutes, one_hour = 300_000_000, 3_600_000_000
    add_events(redis_client, image, [-1, 0, 1, five_minutes - 1, five_minutes, one_hour - 1, one_hour, one_hour + 1])
    add_events(redis_client, image, [0, 0, five_minutes], "comments")
    add_events(redis_client, image, [five_minutes - 1], "flags")
    request = make_request(image)
    del request.context["flags_1hr"]
    with running_scorer(scorer_environment):
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
    counted = {name: row["features"][name] for name in COUNT_NAMES if name != "comments_1min"}
    assert counted == {
        "views_5min": 3,
        "views_1hr": 5,
        "comments_5min": 2,
        "comments_1hr": 3,
        "flags_5min": 1,
        "flags_1hr": 1,
    }


def test_counts_come_from_the_server_of_the_image_and_from_no_other_list_of_servers(
    scorer_environment: dict[str, str],
    people: People,
    requests: Requests,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    host, port, number = (scorer_environment[f"REDIS_{part}"] for part in ("HOST", "PORT", "DB"))
    urls = [f"redis://{host}:{port}/{number}", f"redis://{host}:{port}/{1001 + int(number) % 20}"]
    with redis.Redis.from_url(urls[1], decode_responses=True) as other:
        other.flushdb()
        redis_client.flushdb()
        servers = [redis_client, other]
        for index, server in enumerate(servers):
            server.set(LAYOUT, f"{index}/2")
        asked = []
        for _ in range(8):
            image = people.image()
            add_events(servers[server_of_image(image, 2)], image, [0, 1])
            asked.append(make_request(image))
            del asked[-1].context["flags_1hr"]
        requests.send(*asked)
        # The second server alone does not look like a server without events.
        with running_scorer({**scorer_environment, "REDIS_URLS": urls[1]}):
            wait_until(lambda: "holds the state of server 1/2" in caplog.text)
            assert not any(people.decision(request.request_id) for request in asked)
        with running_scorer({**scorer_environment, "REDIS_URLS": ",".join(urls)}):
            rows = [wait_until(partial(people.decision, request.request_id)) for request in asked]
        other.flushdb()
        redis_client.flushdb()
    assert {row["features"]["views_5min"] for row in rows} == {2}
    assert {server_of_image(request.image_id, 2) for request in asked} == {0, 1}


def test_a_complete_context_is_believed_whatever_redis_holds(
    scorer_environment: dict[str, str], people: People, requests: Requests, redis_client: redis.Redis
) -> None:
    image = people.image()
    add_events(redis_client, image, [0, 1, 2])
    request = make_request(image, views_5min=7, views_1hr=9)
    with running_scorer(scorer_environment):
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
    assert (row["features"]["views_5min"], row["features"]["views_1hr"]) == (7, 9)


def test_flags_count_up_to_the_requests_time_on_the_image_and_its_comments_by_eligible_actors(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    image, other, at = people.image(), people.image(), NOON + timedelta(minutes=5)
    hidden = people.comment(image, moderator_hidden=True, deleted_at=NOON)
    comment = people.comment(image)
    just_after = at + timedelta(microseconds=1)
    people.flag(image_id=image, created_at=at)
    people.flag(image_id=image, created_at=at, review_status="rejected")
    people.flag(comment_id=comment, created_at=NOON)
    people.flag(comment_id=hidden, created_at=NOON)
    people.flag(image_id=image, comment_id=comment, created_at=NOON)  # one flag, though it names both
    for created_at, target in ((just_after, {"image_id": image}), (just_after, {"comment_id": comment})):
        people.flag(created_at=created_at, **target)
    people.flag(image_id=image, created_at=at, actor_eligible=False)
    people.flag(comment_id=comment, created_at=at, actor_eligible=False)
    people.flag(image_id=other, created_at=at)
    people.flag(comment_id=people.comment(other), created_at=at)
    request = make_request(image, at)
    with running_scorer(scorer_environment):
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
    assert row["features"]["total_flags"] == 5
    assert row["rationale"] == "flags: total_flags = 5 (+0.4)"


def test_the_uploaders_images_count_as_of_the_requests_time(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    at = NOON + timedelta(minutes=5)
    owner = people.user(created_at=NOON - timedelta(days=2))
    image = people.image(owner, caption="crème brûlée", category=" Dessert ")
    people.image(owner, created_at=at)
    people.image(owner, created_at=at + timedelta(microseconds=1))
    people.image(owner, deleted_at=at)
    people.image(owner, deleted_at=at + timedelta(microseconds=1))
    request = make_request(image, at)
    with running_scorer(scorer_environment):
        requests.send(request)
        features = wait_until(lambda: people.decision(request.request_id))["features"]
    assert features["user_image_count"] == 3
    assert (features["user_age_days"], features["time_since_upload_seconds"]) == (2, 300)
    assert (features["caption_length"], features["category_Dessert"]) == (12, 1)


def test_two_replicas_share_the_work_and_one_takes_over(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    images = [people.image() for _ in range(20)]
    first, second = ([make_request(image) for image in images] for _ in range(2))
    with running_scorer(scorer_environment):
        with running_scorer(scorer_environment):
            requests.send(*first)
            wait_until(lambda: requests.committed() == 20, 30)
        requests.send(*second)
        wait_until(lambda: requests.committed() == 40, 30)
    stored = [row["inference_request_id"] for row in people.decisions()]
    assert sorted(stored.count(request.request_id) for request in first + second) == [1] * 40


def test_without_its_dead_letter_topic_the_scorer_says_so_and_goes_on_once_it_is_back(
    scorer_environment: dict[str, str], people: People, requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    topic = scorer_environment["DEAD_LETTER_TOPIC"]
    request = make_request(people.image())
    with running_scorer({**scorer_environment, "STANDSTILL_SECONDS": "2"}) as service:
        url = f"http://127.0.0.1:{service.health_port}/health"
        wait_until(lambda: httpx.get(url, timeout=30).status_code == 200, 30.0, "a healthy scorer")
        with without_topic(scorer_environment, topic):
            requests.send(b"{", request)

            def unhealthy() -> Any:
                body = httpx.get(url, timeout=30).json()
                return body if not body["checks"]["progress"] else None

            body = wait_until(unhealthy, 60.0, "the truth in /health")
            assert body["status"] == "unhealthy"
            assert topic in body["waiting_for"]
            assert body["waiting_for"] in caplog.text
            # Only the bad one waits.
            assert wait_until(lambda: people.decision(request.request_id), 60.0, "the row of the good request")
        with requests.dead_letters() as dead:
            wait_until(lambda: dead.at_least(1), 30.0, "the dead letter")
        wait_until(lambda: httpx.get(url, timeout=30).status_code == 200, 30.0, "a healthy scorer")
        wait_until(lambda: requests.committed() == 2, 30.0, "the commit")
