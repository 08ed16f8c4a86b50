"""A trace finds everything that a hand-made image has left in every store."""

import json
import uuid
from collections.abc import Iterator, Mapping
from io import StringIO

import orjson
import pytest
from confluent_kafka import Consumer
from rich.console import Console

from gourmetgram.errors import PermanentError
from gourmetgram.events import Record, dead_letter
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram_tools.cli.trace_view import print_event, print_trace
from gourmetgram_tools.inspection.event_trace import trace_event
from gourmetgram_tools.inspection.kafka_reading import Keyed, read
from gourmetgram_tools.inspection.trace import trace
from tests.conftest import UniqueName
from tests.support.inspection_fixtures import Scene, scene_fixture, small_platform_fixture  # noqa: F401
from tests.support.models import artifacts

pytestmark = pytest.mark.servers


def printed(scene: Scene) -> str:
    output = StringIO()
    print_trace(Console(file=output, width=100, highlight=False), trace(scene.platform, scene.image_id))
    return output.getvalue()


def test_every_store_is_in_the_trace(scene: Scene) -> None:
    found = trace(scene.platform, scene.image_id)
    assert found.rows.image is not None and found.rows.image.views == 12
    assert found.rows.uploader is not None and found.rows.uploader.id == found.rows.image.user_id
    assert (len(found.rows.comments), len(found.rows.flags)) == (3, 2)
    assert [row.value for row in found.rows.milestones] == [10]
    assert found.picture is not None
    assert (found.picture.size, found.picture.content_type) == (len(b"picture"), "image/jpeg")
    assert [event.kind for event in found.records.events].count("view") == 12
    assert [request.trigger for request in found.records.requests] == ["flagged"]
    (decision,) = found.rows.decisions
    assert decision.request_id == found.records.requests[0].request_id
    assert decision.features is not None and decision.features["flags_5min"] == 2
    assert {key.key.removeprefix(f"image:{scene.image_id}:") for key in found.keys} == {
        "metadata", "views:1hr", "comments:1hr", "flags:1hr", "total_views", "total_comments", "total_flags",
        "alert:flagged",
    }  # fmt: skip
    views = next(key for key in found.keys if key.key.endswith("views:1hr"))
    assert (views.type, views.length) == ("zset", 12)
    assert views.ttl_s is not None and 7000 < views.ttl_s <= 7200


def test_the_timeline_is_in_the_order_of_time_and_names_the_broker_s_places(scene: Scene) -> None:
    moments = trace(scene.platform, scene.image_id).timeline
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)
    whats = [moment.what for moment in moments]
    assert whats[1:4] == ["image row", "upload event", "view 1 of 12"]
    assert {"milestone 10 views", "comment 3 of 3", "flag 2 of 2", "request flagged"} <= set(whats)
    last_view = next(moment for moment in moments if moment.what == "view 12 of 12")
    partition = trace(scene.platform, scene.image_id).records.partition
    assert f"views/{partition}@11" in last_view.detail


def test_of_events_and_requests_only_the_image_s_partition_is_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, set[int]] = {}

    def noted(consumer: Consumer, within: Mapping[Partition, OffsetRange]) -> Iterator[Keyed]:
        for topic, number in within:
            asked.setdefault(topic, set()).add(number)
        return read(consumer, within)

    monkeypatch.setattr("gourmetgram_tools.inspection.kafka_records.read", noted)
    home = trace(scene.platform, scene.image_id).records.partition
    kafka = scene.platform.kafka
    assert {topic: asked[topic] for topic in (*kafka.event_topics, kafka.moderation_topic)} == {
        topic: {home} for topic in (*kafka.event_topics, kafka.moderation_topic)
    }


def test_a_prefix_of_eight_characters_is_enough(scene: Scene) -> None:
    assert trace(scene.platform, scene.image_id[:8]).image_id == scene.image_id
    assert trace(scene.platform, scene.image_id[:8].upper() + "...").image_id == scene.image_id


@pytest.mark.parametrize("text", ["", "1234567", "not-an-image", "00000000"])
def test_what_names_no_image_is_refused_with_a_sentence(scene: Scene, text: str) -> None:
    with pytest.raises(PermanentError):
        trace(scene.platform, text)


def test_a_prefix_of_several_images_is_refused_with_their_ids(scene: Scene) -> None:
    user_id = scene.small.sql("SELECT id FROM users LIMIT 1")
    for last in ("1", "2"):
        scene.small.sql(
            "INSERT INTO images (id, user_id, s3_url) VALUES (:id, :user, 'x')",
            id=f"12345678-0000-4000-8000-00000000000{last}",
            user=user_id,
        )
    with pytest.raises(PermanentError, match="12345678-0000-4000-8000-000000000001, 12345678-0000-4000-8000-00000000"):
        trace(scene.platform, "12345678")


def test_an_image_without_a_row_still_shows_its_events(scene: Scene) -> None:
    unknown = str(uuid.uuid4())
    scene.small.event("view", unknown, scene.small.tick())
    found = trace(scene.platform, unknown)
    assert found.rows.image is None and found.picture is None
    assert [event.kind for event in found.records.events] == ["view"]
    assert len(found.keys) == 2


def test_an_event_in_the_outbox_is_shown_as_waiting(scene: Scene) -> None:
    event_id = str(
        scene.small.sql(
            "INSERT INTO event_outbox (event_id, topic, message_key, payload) "
            "VALUES (gen_random_uuid(), :topic, :image, CAST(:payload AS jsonb)) RETURNING event_id",
            topic=scene.platform.kafka.kafka_topic_views, image=scene.image_id,
            payload=json.dumps({"event_type": "view"}),
        )
    )  # fmt: skip
    found = trace(scene.platform, scene.image_id)
    assert [(row.event_id, row.event_type) for row in found.rows.outbox] == [(event_id, "view")]
    assert "view waits in the outbox" in [moment.what for moment in found.timeline]
    waiting = trace_event(scene.platform, event_id, scene.image_id)
    assert waiting.outbox is not None and waiting.records == []


def test_a_dead_letter_about_the_image_is_shown(scene: Scene) -> None:
    bad = json.dumps({"event_type": "dance", "image_id": scene.image_id}).encode()
    letter = dead_letter(Record("gourmetgram.views", 1, 7, 0, bad), "some-group", "unknown event_type 'dance'")
    # Under another key: what concerns the image is found by the refused record's content.
    scene.small.publish(scene.platform.kafka.dead_letter_topic, "another", json.loads(letter))
    (found,) = trace(scene.platform, scene.image_id).records.dead_letters
    assert (found.refused, found.error) == ("gourmetgram.views/1@7", "unknown event_type 'dance'")


def test_a_decision_by_a_model_leads_to_its_run_its_snapshot_and_its_rows(
    scene: Scene, unique_name: UniqueName
) -> None:
    models = scene.platform.models.model_copy(update={"model_prefix": f"{unique_name('trace')}/models/"})
    platform = scene.platform._replace(models=models, mlflow_address="http://localhost:5000/")
    publisher = ModelPublisher(platform.objects, models)
    files = artifacts(algorithm="LGBMClassifier", snapshot_id="123456", held_out_from="2026-03-08T00:00:00Z")
    lineage = {"run_id": "abc", "experiment_id": "7", "model_name": "c.s.moderation_model_basic", "model_version": "4"}
    metadata = {**orjson.loads(files.pop("metadata.json")), "mlflow": lineage, "forced": "for the lesson"}
    publisher.publish(ModelPackage(files, metadata))
    publisher.close()
    decided = "UPDATE moderation SET inference_mode = 'model', model_version = :version WHERE target_id = :image"
    scene.small.sql(decided, version="1", image=scene.image_id)

    found = trace(platform, scene.image_id)
    (model,) = found.to_json()["models"]
    assert model == {
        "model_version": "1",
        "found": True,
        "algorithm": "LGBMClassifier",
        "snapshot_id": "123456",
        "rows": 400,
        "held_out_from": "2026-03-08T00:00:00Z",
        "registered_name": "c.s.moderation_model_basic",
        "registered_version": "4",
        "run_id": "abc",
        "run_page": "http://localhost:5000/#/experiments/7/runs/abc",
        "forced": "for the lesson",
    }
    output = StringIO()
    print_trace(Console(file=output, width=100, highlight=False), found)
    for line in (
        "model version 1 (LGBMClassifier): version 4 of c.s.moderation_model_basic",
        "run http://localhost:5000/#/experiments/7/runs/abc",
        "learned from 400 rows of Iceberg snapshot 123456",
        "published although it was not better, because: for the lesson",
    ):
        assert line in output.getvalue()

    scene.small.sql(decided, version="9", image=scene.image_id)
    (absent,) = trace(platform, scene.image_id).models
    assert (absent.model_version, absent.found) == ("9", False)
    scene.small.sql(decided, version=None, image=scene.image_id)
    assert trace(platform, scene.image_id).models == []


def test_one_event_is_followed_by_its_id_alone(scene: Scene) -> None:
    whole = trace(scene.platform, scene.image_id)
    last_flag = [event for event in whole.records.events if event.kind == "flag"][-1]
    followed = trace_event(scene.platform, last_flag.event_id)
    assert (followed.image_id, followed.kind) == (scene.image_id, "flag")
    assert followed.row is not None and followed.row.id == last_flag.row_id
    assert [record.offset for record in followed.records] == [last_flag.offset]
    assert [window.key for window in followed.windows] == [f"image:{scene.image_id}:flags:1hr"]
    assert [request.trigger for request in followed.triggered] == ["flagged"]
    assert [request.trigger for request in followed.counted_in] == ["flagged"]
    assert [decision.trigger for decision in followed.decisions] == ["flagged"]
    output = StringIO()
    print_event(Console(file=output, width=100, highlight=False), followed)
    assert "Triggered   flagged" in output.getvalue()


def test_an_event_that_nobody_knows_is_refused_with_a_sentence(scene: Scene) -> None:
    with pytest.raises(PermanentError, match="No event topic holds"):
        trace_event(scene.platform, str(uuid.uuid4()))
    with pytest.raises(PermanentError, match="is no event id"):
        trace_event(scene.platform, "abc")


def test_the_json_document_has_every_part_with_the_same_content(scene: Scene) -> None:
    document = orjson.loads(orjson.dumps(trace(scene.platform, scene.image_id).to_json()))
    assert {name: type(value).__name__ for name, value in document.items()} == {
        "image_id": "str", "partition": "int", "image": "dict", "uploader": "dict", "comments": "list",
        "flags": "list", "milestones": "list", "decisions": "list", "outbox": "list", "picture": "dict",
        "views": "dict", "events": "list", "repeated_events": "int", "requests": "list", "dead_letters": "list",
        "redis": "list", "iceberg": "NoneType", "models": "list",
            "timeline": "list",
    }  # fmt: skip
    assert (document["views"]["events"], document["views"]["from_api"]) == (12, 12)
    assert [event["kind"] for event in document["events"]] == ["upload", *["comment"] * 3, *["flag"] * 2]
    assert document["requests"][0]["context"]["flags_5min"] == 2
    assert set(document["events"][0]) >= {"topic", "partition", "offset", "broker_time", "event_id"}
    assert document["timeline"][0].keys() == {"at", "store", "what", "detail"}


def test_the_page_fits_a_hundred_columns_and_names_the_decision(scene: Scene) -> None:
    page = printed(scene)
    assert max(map(len, page.splitlines())) <= 100
    assert "score 0.40 REVIEW" in page
    assert "because flags: total_flags=2" in page
    assert "flags_5min=2" in page
