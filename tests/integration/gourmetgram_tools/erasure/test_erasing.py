"""After an erasure, no store, file or snapshot gives back an id, a text or a picture of the person."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import redis as redis_library

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.events import Record, dead_letter
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.models.signing import signed
from gourmetgram.training_data.extract import extract
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.load import load
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram.training_data.transform import PROCESSED_FILE, transform
from gourmetgram_tools.erasure.erasing import erase
from gourmetgram_tools.erasure.models import PERHAPS, UNKNOWN
from gourmetgram_tools.erasure.rows import Subject
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.inspection.kafka_reading import partition_of
from gourmetgram_tools.local.stack import Stack
from tests.support.byte_search import Content, everything, places_with
from tests.support.inspection_fixtures import (
    Scene,
    aggregate_scene,
    scene_fixture,  # noqa: F401
    small_platform_fixture,  # noqa: F401
    train_scene,
)
from tests.support.publishing import publish_all
from tests.support.small_platform import lively_image

pytestmark = pytest.mark.servers


@dataclass
class Person:
    """A person with an image and actions on the scene's image, and what others did to them.

    Attributes:
        names: all that must go, by what it is.
    """

    user_id: str
    image_id: str
    names: dict[str, str] = field(default_factory=dict)


def live(scene: Scene) -> Person:
    """Let a person leave something in every store."""
    small, word = scene.small, uuid.uuid4().hex
    user_id, other = small.user(), small.user()
    small.sql("UPDATE users SET username = :name WHERE id = :id", name=f"paula-{word}", id=user_id)
    image_id = small.upload(user_id, caption=f"quince tart {word}", picture=f"picture of {word}".encode())
    person = Person(user_id, image_id)
    person.names |= {"user": user_id, "image": image_id, "username": f"paula-{word}", "picture": f"picture of {word}"}
    for _ in range(10):
        small.view(image_id)
    own_comment = small.comment(scene.image_id, user_id, f"a comment {word}")
    person.names["caption"] = f"quince tart {word}"
    person.names["comment"] = own_comment
    person.names["comment text"] = f"a comment {word}"
    person.names["flag"] = small.flag(scene.image_id, user_id, f"a reason {word}")
    person.names["reason"] = f"a reason {word}"
    person.names["flag on the comment"] = small.flag(scene.image_id, other, f"of the comment {word}", own_comment)
    person.names["comment of another person"] = small.comment(image_id, other, f"about the person {word}")
    person.names["text of another person"] = f"about the person {word}"
    person.names["flag of another person"] = small.flag(image_id, other)
    at = small.tick()
    flag_id = str(uuid.uuid4())
    small.sql(
        "INSERT INTO flags (id, image_id, user_id, reason, created_at) VALUES (:id, :image, :user, 'spam', :at)",
        id=flag_id, image=image_id, user=other, at=at,
    )  # fmt: skip
    event_id = small.event("flag", image_id, at, flag_id=flag_id, comment_id=None, user_id=other, reason="spam")
    person.names["second flag"] = flag_id
    small.decide(image_id, "flagged", event_id, at)
    small.sql(
        "INSERT INTO image_milestones (image_id, milestone_type, milestone_value, reached_at) "
        "VALUES (:image, 'views', 10, :at)",
        image=image_id, at=small.now,
    )  # fmt: skip
    _leave_in_passing(scene, person)
    small.settle()
    return person


def _leave_in_passing(scene: Scene, person: Person) -> None:
    """Published outbox rows, a dead letter, and plans of the stream consumer."""
    small, kafka = scene.small, scene.platform.kafka
    payload = {"event_type": "upload", "image_id": person.image_id, "user_id": person.user_id}
    small.sql(
        "INSERT INTO event_outbox (event_id, topic, message_key, payload, published_at) "
        "VALUES (gen_random_uuid(), :topic, :key, CAST(:payload AS JSONB), now())",
        topic=kafka.kafka_topic_uploads, key=person.image_id, payload=json.dumps(payload),
    )  # fmt: skip
    small.sql(
        "INSERT INTO idempotency_keys (key, fingerprint, status, body) VALUES ('key', '', 200, :body)",
        body=json.dumps(payload),
    )
    refused = Record(kafka.moderation_topic, 0, 10_000, 0, json.dumps(person.names).encode())
    letter = dead_letter(refused, scene.platform.scorer_group, "unknown image")
    publish_all(small.producer, [OutgoingMessage(kafka.dead_letter_topic, person.image_id, letter)])
    small.redis.hset("consumer:milestones", f"{person.image_id}/100", "1")
    small.redis.zadd("consumer:anchors:1", {f"{person.image_id}/anchor_30": 9e9})
    small.redis.hset("consumer:pending:2", f"{person.image_id}/viral/{uuid.uuid4()}", person.image_id)
    small.redis.zadd("consumer:waiting", {f"{person.image_id}/{0:017d}/{person.image_id}/viral": 0})


@pytest.fixture(name="raw_redis")
def raw_redis_fixture(scene: Scene) -> Iterator[redis_library.Redis]:
    settings = scene.platform.redis
    with redis_library.Redis(host=settings.redis_host, port=settings.redis_port, db=settings.redis_db) as client:
        yield client


@pytest.fixture(name="search")
def search_fixture(scene: Scene, raw_redis: redis_library.Redis, stack: Stack) -> Any:
    """All bytes of the scene's stores."""
    return lambda: everything(scene.platform, raw_redis, stack.folder / "redis")


def found(person: Person, contents: list[Content]) -> dict[str, list[str]]:
    """Places of everything of the person, by what it is; nothing for what is in no place."""
    places = {what: places_with(name, contents) for what, name in person.names.items()}
    return {what: where for what, where in places.items() if where}


def differences(scene: Scene) -> list[str]:
    result = audit(scene.platform, deadline_s=20)
    return [difference for check in result.checks for difference in check.differences]


@pytest.fixture(name="person")
def person_fixture(scene: Scene) -> Person:
    """A person in every store, after two runs of both DAGs."""
    person = live(scene)
    aggregate_scene(scene)
    train_scene(scene)
    scene.small.view(scene.image_id)
    scene.small.settle()
    aggregate_scene(scene)
    train_scene(scene)
    assert differences(scene) == []
    return person


def test_no_store_file_or_snapshot_holds_anything_of_an_erased_person(
    scene: Scene, person: Person, search: Any
) -> None:
    with open_catalog(scene.platform.iceberg) as catalog:
        for name in (EVENTS, TRAINING_TABLE):
            table = catalog.load_table(name)
            with table.manage_snapshots() as change:
                change.create_tag(table.metadata.snapshots[0].snapshot_id, "kept-for-a-model")
        first = table.metadata.snapshots[0].snapshot_id
    for version, snapshot in ((1, str(first)), (2, "1")):
        _publish(scene, version, snapshot)
    before = found(person, search())
    assert before.keys() == person.names.keys()
    stores = {place.split()[0] for where in before.values() for place in where}
    assert stores == {"postgres", "redis", "kafka", "s3"}

    result = erase(scene.platform, [Subject("user", person.user_id)], deadline_s=20)

    assert found(person, search()) == {}
    assert (result.erasures, result.users, result.images) == (1, 1, 1)
    assert "kept-for-a-model" in result.tables[EVENTS].tags
    assert result.models == [
        "published version 1",
        "published version 2" + PERHAPS,
        UNKNOWN.format("http://localhost:9"),
    ]
    (record,) = scene.small.rows("SELECT subject_digest, subject_id, image_ids, row_ids FROM erasures")
    assert record == (hashlib.sha256(f"user/{person.user_id}".encode()).hexdigest(), None, [], [])
    assert differences(scene) == []


class _StoppedError(Exception):
    """Stands in for a kill between two steps."""


def test_an_erasure_that_was_stopped_at_any_step_is_completed_by_the_next_run(
    scene: Scene, person: Person, search: Any
) -> None:
    steps: list[str] = []
    stop_at = 0

    def report(step: str) -> None:
        steps.append(step)
        if len(steps) > stop_at:
            raise _StoppedError(step)

    subjects = [Subject("user", person.user_id)]
    while True:
        steps.clear()
        try:
            result = erase(scene.platform, subjects, deadline_s=20, report=report)
        except _StoppedError:
            stop_at += 1
            # Where the rows are gone, only the record still knows what belonged to the person.
            subjects = []
        else:
            break
    assert stop_at >= 10
    assert (result.erasures, result.images) == (1, 1)
    assert found(person, search()) == {}
    assert differences(scene) == []


def test_an_image_that_the_person_uploads_during_the_erasure_goes_too(
    scene: Scene, person: Person, search: Any
) -> None:
    def report(step: str) -> None:
        if step == "looking for models":
            caption = f"late {uuid.uuid4().hex}"
            person.names |= {"late image": scene.small.upload(person.user_id, caption=caption), "late caption": caption}
            scene.small.settle()

    erase(scene.platform, [Subject("user", person.user_id)], deadline_s=20, report=report)
    assert "late image" in person.names
    assert found(person, search()) == {}
    assert differences(scene) == []


def test_an_erased_image_leaves_its_uploader_and_a_runs_old_extract_cannot_bring_it_back(
    scene: Scene, person: Person, search: Any
) -> None:
    lake = Lake(scene.platform.iceberg)
    extract(scene.platform.postgres.database_url, lake)
    with open_catalog(scene.platform.iceberg) as catalog:
        transform(lake, catalog)
        processed = scene.small.s3.get_object(**_processed(scene))["Body"].read()
        erase(scene.platform, [Subject("image", person.image_id)], deadline_s=20)
        # A run of the DAG that began before the erasure stores its file after it.
        scene.small.s3.put_object(**_processed(scene), Body=processed)
        with pytest.raises(PermanentError, match="rows were erased at"):
            load(lake, catalog)
    left = found(person, search())
    kept = {"user", "username", "comment", "comment text", "flag", "reason", "flag on the comment"}
    assert left.keys() == kept
    assert differences(scene) == []
    train_scene(scene)
    assert differences(scene) == []


def test_an_extraction_during_an_erasure_leaves_no_file(scene: Scene, person: Person, search: Any) -> None:
    scene.small.sql(
        "INSERT INTO erasures (subject_type, subject_digest, subject_id) VALUES ('user', 'x', :id)", id=person.user_id
    )
    lake = Lake(scene.platform.iceberg)
    with pytest.raises(TransientError, match="gourmetgram erase resume"):
        extract(scene.platform.postgres.database_url, lake)
    assert not any("/raw/" in place for place in places_with(person.user_id, search()))


def test_an_erasure_waits_for_readers_that_are_behind_and_says_which(scene: Scene, person: Person) -> None:
    scene.small.view(person.image_id)
    with pytest.raises(TransientError, match="the stream consumer has not read 1 records"):
        erase(scene.platform, [Subject("user", person.user_id)], deadline_s=1)
    assert scene.small.sql("SELECT count(*) FROM images WHERE id = :id", id=person.image_id) == 1


def _publish(scene: Scene, version: int, snapshot: str) -> None:
    """Metadata of a published model, which is all that an erasure reads."""
    models = scene.platform.models
    key = f"{models.model_prefix}versions/{version}/metadata.json"
    address = f"s3://{models.model_bucket}/{key}"
    document = signed({"snapshot_id": snapshot}, address, models.signing_keys())
    scene.small.s3.put_object(Bucket=models.model_bucket, Key=key, Body=json.dumps(document))


def _processed(scene: Scene) -> dict[str, str]:
    bucket, _, key = Lake(scene.platform.iceberg).uri(PROCESSED_FILE).removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def test_the_audit_is_exact_for_what_comes_after_an_erasure_and_tolerant_of_what_went_with_it(
    scene: Scene, person: Person
) -> None:
    small, partitions = scene.small, 4
    shared = next(
        image_id
        for image_id in iter(lambda: lively_image(small), None)
        if partition_of(image_id, partitions) == partition_of(person.image_id, partitions)
    )
    # The person's last request lies behind one of the other image, whose events all stay.
    small.decide(person.image_id, "anchor_30", str(uuid.uuid4()), small.tick())
    small.settle()
    erase(scene.platform, [Subject("user", person.user_id)], deadline_s=20)
    assert small.sql("SELECT count(*) FROM moderation WHERE target_id = :id", id=shared) == 1
    assert differences(scene) == []
    small.now = datetime.now(UTC)
    later = lively_image(small)
    small.settle()
    assert differences(scene) == []
    small.redis.incr(f"image:{later}:total_views")
    assert differences(scene) == [f"image:{later}:total_views is 13; 12 events"]
