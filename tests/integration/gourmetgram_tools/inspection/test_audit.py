"""The audit finds every kind of planted fault, on real servers, and nothing on a platform whose stores agree."""

import json
import uuid

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from gourmetgram.events import Record, dead_letter, request_uuid
from gourmetgram.kafka.clients import client_config
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.inspection.checks import Check, run_checks
from gourmetgram_tools.inspection.derived import SWEPT_WITHIN_US
from gourmetgram_tools.inspection.quiescence import StillMovingError, look
from tests.support.inspection_fixtures import (
    Scene,
    loaded,
    scene_fixture,  # noqa: F401
    small_platform_fixture,  # noqa: F401
)
from tests.support.small_platform import SmallPlatform

pytestmark = pytest.mark.servers


def failed(scene: Scene, strict: bool = False) -> dict[str, Check]:
    """Checks with differences, by name."""
    with loaded(scene, strict) as (tables, lake):
        return {check.name: check for check in run_checks(tables, lake) if not check.ok}


def only(scene: Scene, name: str) -> str:
    """The one difference of the one check that fails."""
    found = failed(scene)
    assert list(found) == [name], found
    (difference,) = found[name].differences
    return difference


def test_a_platform_whose_stores_agree_has_no_difference(scene: Scene) -> None:
    result = audit(scene.platform, deadline_s=20)
    assert [check for check in result.checks if not check.ok] == []
    assert result.events == 18
    by_name = {check.name: (check.expected, check.actual) for check in result.checks}
    assert by_name["views"] == (12, 12)
    assert by_name["comments"] == (3, 3)
    assert by_name["flags"] == (2, 2)
    assert by_name["uploads"] == (1, 1)
    assert by_name["totals"] == (17, 17)
    assert by_name["windows"] == (17, 17)
    assert by_name["requests"] == (1, 1)
    assert by_name["contexts"] == (1, 1)
    assert by_name["decisions"] == (1, 1)
    assert by_name["alerts"] == (1, 1)
    assert by_name["milestones"] == (1, 1)
    assert by_name["pictures"] == (1, 1)
    assert by_name["metadata"] == (1, 1)


def test_a_deleted_row_is_found(scene: Scene) -> None:
    row_id = scene.small.sql("DELETE FROM comments WHERE id = (SELECT id FROM comments LIMIT 1) RETURNING id")
    assert only(scene, "comments") == f"comment event of comment {row_id}, which has no row"


def test_a_row_whose_event_was_lost_is_found(scene: Scene) -> None:
    user_id = scene.small.sql("SELECT id FROM users LIMIT 1")
    row_id = scene.small.sql(
        "INSERT INTO flags (image_id, user_id, reason) VALUES (:image, :user, 'x') RETURNING id",
        image=scene.image_id,
        user=user_id,
    )
    assert only(scene, "flags") == f"flag {row_id} has no flag event"


def test_a_row_that_api_v1_wrote_before_there_were_events_is_only_a_note_unless_strict(scene: Scene) -> None:
    user_id = scene.small.sql("SELECT id FROM users LIMIT 1")
    scene.small.sql(
        "INSERT INTO comments (image_id, user_id, content, created_at) "
        "VALUES (:image, :user, 'old', now() - interval '1 day')",
        image=scene.image_id,
        user=user_id,
    )
    assert failed(scene) == {}
    assert list(failed(scene, strict=True)) == ["comments"]
    notes = audit(scene.platform, deadline_s=20).notes
    assert [(note.name.split(" (")[0], note.count) for note in notes] == [("rows written without events", 1)]


def test_a_view_counter_that_is_off_by_one_is_found(scene: Scene) -> None:
    # Written since events exist, so that its views must have events.
    scene.small.sql("UPDATE images SET created_at = now(), views = views + 1")
    assert f"image {scene.image_id} has views=13, but 12 view events" in failed(scene)["views"].differences


def test_fewer_views_than_events_are_found_on_images_of_api_v1_too(scene: Scene) -> None:
    scene.small.sql("UPDATE images SET views = views - 1")
    assert only(scene, "views") == f"image {scene.image_id} has views=11, but 12 view events"


def test_an_event_about_an_unknown_image_is_found(scene: Scene) -> None:
    unknown = str(uuid.uuid4())
    scene.small.event("view", unknown, scene.small.tick())
    scene.small.settle()
    assert only(scene, "known images") == f"events of image {unknown}, which has no row"


def test_a_repeated_event_is_counted_once_and_noted(scene: Scene) -> None:
    message = {
        "event_type": "view",
        "event_id": str(uuid.uuid4()),
        "image_id": scene.image_id,
        "viewed_at": scene.small.tick().isoformat(),
    }
    scene.small.sql("UPDATE images SET views = views + 1")
    member = f"view:{scene.small.now.timestamp():.6f}:{message['event_id'][:8]}"
    scene.small.redis.zadd(f"image:{scene.image_id}:views:1hr", {member: scene.small.now.timestamp()})
    scene.small.redis.incr(f"image:{scene.image_id}:total_views")
    for _ in range(3):
        scene.small.publish(scene.platform.kafka.kafka_topic_views, scene.image_id, message)
    scene.small.settle()
    result = audit(scene.platform, deadline_s=20)
    assert result.differences == 0
    assert [(note.count, set(note.examples)) for note in result.notes] == [(2, {message["event_id"]})]


def test_a_record_outside_its_keys_partition_is_found(scene: Scene) -> None:
    kafka = scene.platform.kafka
    message = {"event_type": "view", "event_id": str(uuid.uuid4()), "image_id": scene.image_id, "user_id": "sim-user-1"}
    ends = look(scene.platform, scene.engine).ends
    home = next(p for (t, p), span in ends.items() if t == kafka.kafka_topic_views and span.end)
    other = (home + 1) % 4
    scene.small.producer.produce(
        kafka.kafka_topic_views, key=scene.image_id, value=json.dumps(message).encode(), partition=other
    )
    scene.small.producer.flush(10)
    assert failed(scene)["partitions"].differences == (
        f"record {kafka.kafka_topic_views}/{other}@0 is not in the partition of its key",
    )


def test_a_bad_message_without_a_dead_letter_is_found(scene: Scene) -> None:
    topic = scene.platform.kafka.kafka_topic_views
    scene.small.publish(topic, scene.image_id, {"event_type": "dance", "image_id": scene.image_id})
    assert "cannot be read and has no dead letter" in only(scene, "bad messages")


def test_a_bad_message_with_its_dead_letter_is_only_a_note(scene: Scene) -> None:
    topic = scene.platform.kafka.kafka_topic_views
    scene.small.publish(topic, scene.image_id, {"event_type": "dance", "image_id": scene.image_id})
    scene.small.settle()
    ends = look(scene.platform, scene.engine).ends
    partition, span = next((p, s) for (t, p), s in ends.items() if t == topic and s.end)
    record = Record(topic, partition, span.end - 1, 0, b"x")
    letter = json.loads(dead_letter(record, scene.platform.consumer_group, "unknown event_type"))
    scene.small.publish(scene.platform.kafka.dead_letter_topic, scene.image_id, letter)
    result = audit(scene.platform, deadline_s=20)
    assert result.differences == 0
    assert [note.name for note in result.notes] == ["dead letters"]


def test_a_total_that_is_off_by_one_is_found(scene: Scene) -> None:
    scene.small.redis.incr(f"image:{scene.image_id}:total_comments")
    assert only(scene, "totals") == f"image:{scene.image_id}:total_comments is 4; 3 events"


def test_a_missing_total_is_found(scene: Scene) -> None:
    scene.small.redis.delete(f"image:{scene.image_id}:total_views")
    assert only(scene, "totals") == f"image:{scene.image_id}:total_views is missing; 12 events"


def test_a_surplus_member_of_a_window_is_found(scene: Scene) -> None:
    scene.small.redis.zadd(f"image:{scene.image_id}:views:5min", {"view:1.000000:abcdef01": 1.0})
    assert "holds view:1.000000:abcdef01, which is no event of the image" in only(scene, "windows")


@pytest.mark.parametrize("member", ["view:inf:abcdef01", "view:99999999999999999999:x", "view", "", "view::"])
def test_a_member_that_no_event_could_have_is_found(scene: Scene, member: str) -> None:
    scene.small.redis.zadd(f"image:{scene.image_id}:views:5min", {member: 1.0})
    assert f"holds {member}, which is no event of the image" in only(scene, "windows")


def test_a_member_with_the_score_of_another_time_is_found(scene: Scene) -> None:
    key = f"image:{scene.image_id}:flags:1hr"
    member = str(scene.small.redis.zrange(key, 0, 0)[0])
    scene.small.redis.zadd(key, {member: 5.0})
    assert only(scene, "windows") == f"{key} holds {member} with the score of another time"


def test_a_missing_member_of_the_hour_is_found(scene: Scene) -> None:
    scene.small.redis.zpopmin(f"image:{scene.image_id}:flags:1hr")
    assert f"image:{scene.image_id}:flags:1hr lacks flag:" in only(scene, "windows")


def test_keys_of_another_type_or_content_are_found(scene: Scene) -> None:
    prefix = f"image:{scene.image_id}"
    scene.small.redis.set(f"{prefix}:views:5min", "text")
    scene.small.redis.set(f"{prefix}:alert:viral", "soon")
    scene.small.redis.zadd(f"{prefix}:flags:5min", {"flag": "inf"})
    scene.small.redis.set("image:no-image:total_views", "7")
    found = failed(scene)
    assert list(found) == ["windows"]
    assert [text.split(":")[3] for text in found["windows"].differences] == ["viral", "5min", "5min"]
    assert f"unreadable key {prefix}:views:5min: a string instead of a zset" in found["windows"].differences


def test_wrong_metadata_is_found(scene: Scene) -> None:
    scene.small.redis.hset(f"image:{scene.image_id}:metadata", "category", "Unknown")
    assert only(scene, "metadata") == f"image:{scene.image_id}:metadata has category='Unknown' instead of 'Soup'"


def test_a_missing_object_is_found(scene: Scene) -> None:
    scene.small.s3.delete_object(Bucket=scene.platform.objects.s3_bucket_name, Key=f"{scene.image_id}.jpg")
    assert only(scene, "pictures") == f"image {scene.image_id}: its object {scene.image_id}.jpg is missing"


def test_an_orphan_object_is_found(scene: Scene) -> None:
    scene.small.s3.put_object(Bucket=scene.platform.objects.s3_bucket_name, Key="orphan.png", Body=b"x")
    assert only(scene, "pictures") == "object orphan.png belongs to no image"


def test_a_picture_whose_upload_was_interrupted_a_moment_ago_is_only_a_note(scene: Scene) -> None:
    key = f"{uuid.uuid4()}.png"
    scene.small.s3.put_object(Bucket=scene.platform.objects.s3_bucket_name, Key=key, Body=b"x")
    result = audit(scene.platform, deadline_s=20)
    assert result.differences == 0
    assert [(note.name, note.examples) for note in result.notes] == [
        ("pictures without a row that an API will sweep", (key,))
    ]


def test_a_picture_that_no_api_has_swept_in_time_is_a_difference(scene: Scene) -> None:
    key = f"{uuid.uuid4()}.png"
    scene.small.s3.put_object(Bucket=scene.platform.objects.s3_bucket_name, Key=key, Body=b"x")
    with loaded(scene) as (tables, lake):

        def pictures_after(passed_us: int) -> tuple[str, ...]:
            tables.define(now_us=stored_us + passed_us)
            (check,) = (check for check in run_checks(tables, lake) if check.name == "pictures")
            return check.differences

        ((stored_us,),) = tables.rows("SELECT stored_us FROM objects WHERE key = $key", {"key": key})
        assert pictures_after(SWEPT_WITHIN_US) == (f"object {key} belongs to no image",)
        assert pictures_after(SWEPT_WITHIN_US - 1) == ()


def test_a_second_picture_of_an_image_is_never_swept_and_so_a_difference(scene: Scene) -> None:
    key = f"{scene.image_id}.png"
    scene.small.s3.put_object(Bucket=scene.platform.objects.s3_bucket_name, Key=key, Body=b"x")
    assert only(scene, "pictures") == f"object {key} belongs to no image"


def test_a_request_that_was_never_sent_is_found(small_platform: SmallPlatform) -> None:
    small, user_id = small_platform, small_platform.user()
    image_id = small.upload(user_id)
    small.flag(image_id, user_id)
    small.flag(image_id, user_id)
    small.settle()
    found = failed(Scene(small, image_id))
    assert list(found) == ["requests", "alerts"]
    assert f"(flagged of image {image_id}) is missing" in found["requests"].differences[0]
    assert found["alerts"].differences == (f"image:{image_id}:alert:flagged is missing",)


def test_a_request_that_no_event_demands_is_found(scene: Scene) -> None:
    event_id = scene.small.view(scene.image_id)
    request_id = scene.small.decide(scene.image_id, "viral", event_id, scene.small.now)
    scene.small.settle()
    found = failed(scene)
    assert list(found) == ["requests", "alerts"]
    assert found["requests"].differences == (
        f"request {request_id} (viral of image {scene.image_id}) follows from no event",
    )


def test_a_request_typed_in_by_hand_is_only_a_note(scene: Scene) -> None:
    request_id = str(uuid.uuid4())
    message = {"request_id": request_id, "image_id": scene.image_id, "trigger": "by hand", "timestamp": 1.0}
    scene.small.publish(scene.platform.kafka.moderation_topic, scene.image_id, message)
    scene.small.sql(
        "INSERT INTO moderation (inference_request_id, target_type, target_id, inference_mode, risk_score, "
        "trigger_type) VALUES (:request, 'image', :image, 'heuristic', 0, 'by hand')",
        request=request_id,
        image=scene.image_id,
    )
    scene.small.settle()
    result = audit(scene.platform, deadline_s=20)
    assert result.differences == 0
    assert [note.examples for note in result.notes] == [(request_id,)]


def test_a_request_with_wrong_counts_is_found(small_platform: SmallPlatform) -> None:
    small, user_id = small_platform, small_platform.user()
    image_id = small.upload(user_id)
    small.flag(image_id, user_id)
    small.redis.zadd(f"image:{image_id}:flags:1hr", {"flag:wrong": small.now.timestamp()})
    at = small.tick()
    flag_id = str(uuid.uuid4())
    small.sql(
        "INSERT INTO flags (id, image_id, user_id, reason) VALUES (:id, :image, :user, 'x')",
        id=flag_id, image=image_id, user=user_id,
    )  # fmt: skip
    event_id = small.event("flag", image_id, at, flag_id=flag_id)
    small.decide(image_id, "flagged", event_id, at)
    small.redis.zrem(f"image:{image_id}:flags:1hr", "flag:wrong")
    small.settle()
    difference = only(Scene(small, image_id), "contexts")
    assert difference.endswith("flags_5min=3 instead of 2, flags_1hr=3 instead of 2")


def test_a_repeated_request_with_another_content_is_found(scene: Scene) -> None:
    request_id = str(scene.small.sql("SELECT inference_request_id FROM moderation"))
    message = {"request_id": request_id, "image_id": scene.image_id, "trigger": "flagged", "timestamp": 5.0}
    scene.small.publish(scene.platform.kafka.moderation_topic, scene.image_id, message)
    assert only(scene, "request copies") == f"request {request_id} was sent again with another content"


def test_a_wrong_alert_time_is_found(scene: Scene) -> None:
    scene.small.redis.set(f"image:{scene.image_id}:alert:flagged", "1.000000")
    assert f"image:{scene.image_id}:alert:flagged is 1.000000 instead of" in only(scene, "alerts")


def test_a_missing_milestone_is_found(scene: Scene) -> None:
    scene.small.sql("DELETE FROM image_milestones")
    assert only(scene, "milestones") == f"milestone 10 of image {scene.image_id} is missing"


def test_a_milestone_that_was_not_reached_is_found(scene: Scene) -> None:
    scene.small.sql(
        "INSERT INTO image_milestones (image_id, milestone_type, milestone_value) VALUES (:image, 'views', 100)",
        image=scene.image_id,
    )
    assert only(scene, "milestones") == f"milestone 100 of image {scene.image_id} was not reached"


def test_a_missing_decision_is_found(scene: Scene) -> None:
    request_id = scene.small.sql("DELETE FROM moderation RETURNING inference_request_id")
    assert only(scene, "decisions") == (f"request {request_id} (flagged of image {scene.image_id}) has no decision")


def test_a_missing_decision_on_an_image_deleted_before_is_right(scene: Scene) -> None:
    scene.small.sql("DELETE FROM moderation")
    scene.small.sql("UPDATE images SET deleted_at = created_at")
    assert failed(scene) == {}


def test_a_request_with_a_dead_letter_needs_no_decision(scene: Scene) -> None:
    scene.small.sql("DELETE FROM moderation")
    topic = scene.platform.kafka.moderation_topic
    ends = look(scene.platform, scene.engine).ends
    partition = next(p for (t, p), span in ends.items() if t == topic and span.end)
    letter = json.loads(dead_letter(Record(topic, partition, 0, 0, b"x"), scene.platform.scorer_group, "gone"))
    scene.small.publish(scene.platform.kafka.dead_letter_topic, scene.image_id, letter)
    assert failed(scene) == {}


def test_a_decision_that_answers_no_request_is_found(scene: Scene) -> None:
    request_id = request_uuid(scene.image_id, "viral", str(uuid.uuid4()))
    scene.small.sql(
        "INSERT INTO moderation (inference_request_id, target_type, target_id, inference_mode, risk_score) "
        "VALUES (:request, 'image', :image, 'heuristic', 0)",
        request=request_id,
        image=scene.image_id,
    )
    assert only(scene, "decisions") == (
        f"decision on image {scene.image_id} answers request {request_id}, which is not in Kafka"
    )


def test_a_decision_from_other_counts_than_its_request_is_found(scene: Scene) -> None:
    scene.small.sql("UPDATE moderation SET features = jsonb_set(features, '{views_5min}', '99')")
    assert "views_5min=99.0 instead of 12" in only(scene, "decided as asked")


def test_a_decision_written_by_hand_is_only_a_note(scene: Scene) -> None:
    scene.small.sql(
        "INSERT INTO moderation (target_type, target_id, inference_mode, risk_score) "
        "VALUES ('image', :image, 'heuristic', 0)",
        image=scene.image_id,
    )
    assert failed(scene) == {}


def test_a_malformed_request_without_a_dead_letter_is_found(scene: Scene) -> None:
    scene.small.publish(scene.platform.kafka.moderation_topic, scene.image_id, {"image_id": "nothing"})
    assert only(scene, "bad requests").endswith("has no dead letter")


def test_an_event_in_the_outbox_keeps_the_audit_waiting_and_says_so(scene: Scene) -> None:
    event_id = scene.small.sql(
        "INSERT INTO event_outbox (event_id, topic, message_key, payload) "
        "VALUES (gen_random_uuid(), 'x', 'y', '{}') RETURNING event_id"
    )
    assert only(scene, "outbox") == f"event {event_id} waits in the outbox"
    with pytest.raises(StillMovingError, match="1 in the outbox, consumer 0 behind, scorer 0 behind"):
        audit(scene.platform, deadline_s=0)


def test_an_event_that_the_consumer_has_not_read_keeps_the_audit_waiting(scene: Scene) -> None:
    scene.small.view(scene.image_id)
    with pytest.raises(StillMovingError, match="consumer 1 behind"):
        audit(scene.platform, deadline_s=0)


def test_events_that_kafka_has_removed_are_not_missed(scene: Scene) -> None:
    kafka = scene.platform.kafka
    ends = look(scene.platform, scene.engine).ends
    admin = AdminClient(client_config(kafka, "test"))
    removed = [
        TopicPartition(topic, partition, span.end)
        for (topic, partition), span in ends.items()
        if span.end and topic in kafka.event_topics
    ]
    for answer in admin.delete_records(removed).values():
        answer.result()
    assert failed(scene) == {}
