"""The audit compares the Iceberg tables, too: nothing on a clean history, and each planted fault in its own check."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from io import StringIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from rich.console import Console

from gourmetgram.events import Record, dead_letter
from gourmetgram.kafka.clients import client_config
from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES, WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram_tools.cli.trace_view import print_event
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.inspection.checks import Check, run_checks
from gourmetgram_tools.inspection.event_trace import trace_event
from gourmetgram_tools.inspection.quiescence import look
from gourmetgram_tools.inspection.trace import trace
from gourmetgram_tools.local.stack import Stack
from tests.support.inspection_fixtures import (
    Scene,
    aggregate_scene,
    loaded,
    new_scene,
    new_small_platform,
    scene_fixture,  # noqa: F401
    small_platform_fixture,  # noqa: F401
    train_scene,
)

pytestmark = pytest.mark.servers

VIEWS = WINDOW_TABLES["view"]


@pytest.fixture(name="aggregated")
def aggregated_fixture(scene: Scene) -> Scene:
    """A platform of this test alone, after its first aggregation."""
    aggregate_scene(scene)
    return scene


@pytest.fixture(scope="module", name="clean")
def clean_fixture(stack: Stack, unique_name: Callable[[str], str]) -> Iterator[Scene]:
    """One for all tests that take back what they change: tables, by `changed`."""
    with new_small_platform(stack, unique_name) as small:
        scene = new_scene(small)
        aggregate_scene(scene)
        train_scene(scene)
        yield scene


def failed(scene: Scene) -> dict[str, Check]:
    """Checks with differences, by name."""
    with loaded(scene) as (tables, lake):
        return {check.name: check for check in run_checks(tables, lake) if not check.ok}


def only(scene: Scene, name: str) -> str:
    """The one difference of the one check that fails."""
    found = failed(scene)
    assert list(found) == [name], found
    (difference,) = found[name].differences
    return difference


@contextmanager
def changed(scene: Scene, table_name: str, edit: Callable[[pa.Table], pa.Table]) -> Iterator[None]:
    """Replace the content of a table behind the platform's back, and take that back."""
    with open_catalog(scene.platform.iceberg) as catalog:
        table = catalog.load_table(table_name)
        rows = table.scan().to_arrow()
        table.overwrite(edit(rows))
        yield
        table.overwrite(rows)


def of_kind(rows: pa.Table, kind: str) -> pa.Table:
    return rows.filter(pc.equal(rows["event_type"], kind))


def changed_first(rows: pa.Table, column: str, change_value: Callable[[Any], Any]) -> pa.Table:
    """The rows with another value in a column of the first one."""
    records = rows.to_pylist()
    records[0][column] = change_value(records[0][column])
    return pa.Table.from_pylist(records, schema=rows.schema)


def place(rows: pa.Table) -> str:
    row = rows.to_pylist()[0]
    return f"{row['topic']}/{row['partition']}@{row['offset']}"


def test_before_the_first_aggregation_the_tables_are_skipped_and_nothing_is_created(scene: Scene) -> None:
    result = audit(scene.platform, deadline_s=20)
    assert result.differences == 0
    assert not [check.name for check in result.checks if check.name.startswith(("iceberg", "training"))]
    assert result.skipped == (
        "the Iceberg tables: event_aggregations.events has no snapshot yet, redpanda_event_aggregation has not run",
    )
    assert result.to_json()["skipped"] == list(result.skipped)
    assert scene.small.sql("SELECT to_regclass('iceberg_tables')") is None


def test_a_clean_history_with_copies_and_poison_has_no_difference_after_aggregation(scene: Scene) -> None:
    small, kafka = scene.small, scene.platform.kafka
    event_id = small.view(scene.image_id)
    copy = {"event_type": "view", "event_id": event_id, "image_id": scene.image_id, "viewed_at": small.now.isoformat()}
    small.publish(kafka.kafka_topic_views, scene.image_id, copy)
    small.publish(kafka.kafka_topic_views, scene.image_id, {"event_type": "dance", "image_id": scene.image_id})
    poison = next((p, s.end - 1) for (t, p), s in look(scene.platform, scene.engine).ends.items()
                  if t == kafka.kafka_topic_views and s.end)  # fmt: skip
    record = Record(kafka.kafka_topic_views, *poison, 0, b"x")
    letter = json.loads(dead_letter(record, scene.platform.consumer_group, "x"))
    small.publish(kafka.dead_letter_topic, scene.image_id, letter)
    aggregate_scene(scene)
    train_scene(scene)
    # What comes after the frozen offsets is compared by the next run.
    small.comment(scene.image_id, str(small.sql("SELECT id FROM users LIMIT 1")))
    small.settle()
    result = audit(scene.platform, deadline_s=20)
    assert [check for check in result.checks if not check.ok] == []
    by_name = {check.name: (check.expected, check.actual) for check in result.checks}
    assert by_name["iceberg events"] == (20, 20)  # 18 events of the scene, a view, its copy
    assert by_name["iceberg windows"] == by_name["iceberg eligible"] == (18, 18)
    assert by_name["iceberg rows"] == (6, 6)
    assert by_name["training rows"][0] == by_name["training rows"][1] >= 2
    assert result.skipped == ()
    notes = {note.name: note for note in result.notes}
    partition, offset = poison
    assert notes["unreadable records that the aggregation skipped"].examples == (
        f"{kafka.kafka_topic_views}/{partition}@{offset}",
    )


def test_without_training_rows_only_those_are_skipped(aggregated: Scene) -> None:
    result = audit(aggregated.platform, deadline_s=20)
    assert result.differences == 0
    assert result.skipped == ("moderation.training_data: it does not exist yet, moderation_training has not run",)


def test_lost_records_are_found_with_their_place_and_change_the_sums(clean: Scene) -> None:
    lost: list[str] = []

    def edit(rows: pa.Table) -> pa.Table:
        views = of_kind(rows, "view").sort_by("offset")
        lost.append(place(views[3:4]))
        return rows.filter(pc.invert(pc.is_in(rows["event_id"], views["event_id"][3:6].combine_chunks())))

    with changed(clean, EVENTS, edit):
        found = failed(clean)
    assert list(found) == ["iceberg events", "iceberg windows", "iceberg eligible"]
    assert found["iceberg events"].differences == (
        f"{lost[0]} to @5, 3 records, are missing in event_aggregations.events",
    )
    assert (found["iceberg events"].expected, found["iceberg events"].actual) == (18, 15)
    assert found["iceberg windows"].differences == (
        f"{VIEWS}: sum of event_count is 12, but there are 9 distinct events",
    )


def test_a_row_that_is_there_twice_is_found(clean: Scene) -> None:
    twice: list[str] = []

    def edit(rows: pa.Table) -> pa.Table:
        twice.append(place(rows[:1]))
        return pa.concat_tables([rows, rows[:1]])

    with changed(clean, EVENTS, edit):
        assert only(clean, "iceberg events") == f"{twice[0]} is in event_aggregations.events more than once"


def test_a_row_beyond_the_offsets_of_the_snapshot_is_found(clean: Scene) -> None:
    def edit(rows: pa.Table) -> pa.Table:
        return pa.concat_tables([rows, changed_first(rows[:1], "offset", lambda _offset: 4711)])

    with changed(clean, EVENTS, edit):
        assert only(clean, "iceberg events").endswith(
            "@4711 is in event_aggregations.events, but no readable record below its offsets"
        )


@pytest.mark.parametrize(
    ("column", "edit"),
    [
        ("event_time", lambda time: time + timedelta(microseconds=1)),
        ("image_id", lambda _id: str(uuid.uuid4())),
        ("event_id", lambda _id: str(uuid.uuid4())),
    ],
)
def test_a_row_with_another_content_than_its_record_is_found(
    clean: Scene, column: str, edit: Callable[[Any], Any]
) -> None:
    places: list[str] = []

    def rewrite(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([("event_type", "descending"), ("offset", "ascending")])
        places.append(place(rows))
        return changed_first(rows, column, edit)

    with changed(clean, EVENTS, rewrite):
        assert only(clean, "iceberg events") == f"{places[0]} is in event_aggregations.events with another {column}"


def test_wrong_windows_are_found(clean: Scene) -> None:
    with changed(clean, VIEWS, lambda rows: changed_first(rows, "event_count", lambda count: count + 1)):
        assert only(clean, "iceberg windows") == f"{VIEWS}: sum of event_count is 13, but there are 12 distinct events"
    with changed(clean, VIEWS, lambda rows: changed_first(rows, "eligible_count", lambda count: count - 1)):
        assert only(clean, "iceberg eligible") == (
            f"{VIEWS}: sum of eligible_count is 11, but there are 12 events by eligible actors"
        )


def test_a_window_that_is_there_twice_is_found_though_the_sum_is_right(clean: Scene) -> None:
    def halve(rows: pa.Table) -> pa.Table:
        one = changed_first(rows[:1], "event_count", lambda count: count - 1)
        one = changed_first(one, "eligible_count", lambda count: count - 1)
        other = changed_first(rows[:1], "event_count", lambda _count: 1)
        return pa.concat_tables([one, changed_first(other, "eligible_count", lambda _count: 1), rows[1:]])

    with changed(clean, VIEWS, halve):
        assert only(clean, "iceberg windows") == f"{VIEWS} has 1 rows beyond the first of their image and window"


def test_windows_that_are_behind_the_events_or_gone_are_found(aggregated: Scene) -> None:
    platform = aggregated.platform
    aggregated.small.view(aggregated.image_id)
    aggregated.small.settle()
    aggregate_events(Sources(platform.iceberg, platform.kafka, platform.postgres))
    found = failed(aggregated)
    assert list(found) == ["iceberg windows", "iceberg eligible"]
    assert f"{VIEWS} is older than event_aggregations.events: task write_view_windows has yet to run" in (
        found["iceberg windows"].differences
    )
    for kind in WINDOWED_KINDS:
        write_windows(platform.iceberg, kind)
    assert failed(aggregated) == {}
    with open_catalog(platform.iceberg) as catalog:
        catalog.drop_table(VIEWS)
    assert f"{VIEWS} does not exist" in failed(aggregated)["iceberg windows"].differences


def test_a_row_whose_event_names_another_row_is_found_in_both_directions(clean: Scene) -> None:
    wrong = str(uuid.uuid4())
    right: list[str] = []

    def edit(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by("event_type")
        right.append(rows["comment_id"][0].as_py())
        return changed_first(rows, "comment_id", lambda _id: wrong)

    with changed(clean, EVENTS, edit):
        assert failed(clean)["iceberg rows"].differences == (
            f"comment {right[0]} has no event in event_aggregations.events",
            f"event_aggregations.events has an event of comment {wrong}, which has no row",
        )


def test_a_deleted_row_is_missed_by_the_lakehouse_too(aggregated: Scene) -> None:
    flag = aggregated.small.sql("DELETE FROM flags WHERE id = (SELECT id FROM flags LIMIT 1) RETURNING id")
    found = failed(aggregated)
    assert list(found) == ["flags", "iceberg rows"]
    assert found["iceberg rows"].differences == (
        f"event_aggregations.events has an event of flag {flag}, which has no row",
    )


def test_records_that_kafka_removed_before_they_were_aggregated_are_found(aggregated: Scene) -> None:
    kafka = aggregated.platform.kafka
    aggregated.small.view(aggregated.image_id)
    aggregated.small.settle()
    end = {p: s.end for (t, p), s in look(aggregated.platform, aggregated.engine).ends.items()
           if t == kafka.kafka_topic_views and s.end}  # fmt: skip
    ((partition, offset),) = end.items()
    admin = AdminClient(client_config(kafka, "test"))
    for answer in admin.delete_records([TopicPartition(kafka.kafka_topic_views, partition, offset)]).values():
        answer.result()
    name = f"{kafka.kafka_topic_views}/{partition}"
    assert f"Kafka has removed {name}@12 to @12 before event_aggregations.events read it" in (
        failed(aggregated)["iceberg events"].differences
    )


def test_offsets_beyond_the_end_of_a_topic_or_of_no_topic_are_found(clean: Scene) -> None:
    views = clean.platform.kafka.kafka_topic_views
    with loaded(clean) as (tables, lake):

        def differences() -> tuple[str, ...]:
            return next(check for check in run_checks(tables, lake) if check.name == "iceberg events").differences

        ((partition, end),) = tables.rows("SELECT partition, last_end FROM spans WHERE topic = $views AND last_end > 0",
                                          {"views": views})  # fmt: skip
        tables.run(f"UPDATE lake_offsets SET next_offset = 14 WHERE topic = '{views}' AND partition = {partition}")
        assert differences() == (
            f"event_aggregations.events has read {views}/{partition} up to 14, but it ends at {end}: "
            "the topic was recreated",
        )
        tables.run(
            f"UPDATE lake_offsets SET partition = 9, next_offset = 12 WHERE topic = '{views}' AND next_offset = 14"
        )
        assert (
            f"event_aggregations.events has read {views}/9 up to 12, but Kafka has no such partition" in differences()
        )


def test_training_rows_of_images_that_may_not_be_used_are_found(clean: Scene) -> None:
    small, image_id = clean.small, clean.image_id
    user_id = small.sql("SELECT user_id FROM images")
    small.sql("UPDATE users SET is_test_account = true WHERE id = :id", id=user_id)
    assert "whose uploader is a test account or may be under 18" in only(clean, "training rows")
    small.sql("UPDATE users SET is_test_account = false, year_of_birth = extract(year FROM now()) - 18 WHERE id = :id",
              id=user_id)  # fmt: skip
    assert "whose uploader is a test account or may be under 18" in only(clean, "training rows")
    small.sql("UPDATE users SET year_of_birth = NULL WHERE id = :id", id=user_id)
    small.sql("UPDATE images SET deleted_at = created_at + interval '1 second'")
    assert only(clean, "training rows").endswith(f"{image_id}, which was deleted before they were made")
    small.sql("UPDATE images SET deleted_at = now()")
    assert failed(clean) == {}, "the next run of moderation_training removes the rows"
    small.sql("UPDATE images SET deleted_at = NULL")


def test_repeated_wrong_and_foreign_training_rows_are_found(clean: Scene) -> None:
    def differences() -> tuple[str, ...]:
        found = failed(clean)
        assert list(found) == ["training rows"]
        return found["training rows"].differences

    with changed(clean, TRAINING_TABLE, lambda rows: pa.concat_tables([rows, rows[:1]])):
        count, repeated = differences()
    assert re.fullmatch(rf"{TRAINING_TABLE} has (\d) rows, but its snapshot says (\d)", count)
    assert re.fullmatch(rf"{TRAINING_TABLE} has 2 rows of image {clean.image_id} at (0|5|30) minutes", repeated)
    day = timedelta(days=1)
    with changed(clean, TRAINING_TABLE, lambda rows: changed_first(rows, "anchor_time", lambda at: at + day)):
        flagged, late, other = differences()
    assert "whose first_flagged_at does not fit its label, or lies outside" in flagged
    assert "at an anchor after" in late and "that do not follow from its upload" in other
    unknown = str(uuid.uuid4())
    with changed(clean, TRAINING_TABLE, lambda rows: changed_first(rows, "image_id", lambda _id: unknown)):
        assert differences() == (f"{TRAINING_TABLE} has rows of image {unknown}, which has no row",)
    assert failed(clean) == {}


def test_a_first_flag_that_contradicts_the_label_or_its_window_is_found(clean: Scene) -> None:
    def with_first_flag(rows: pa.Table, label: int | None, after: timedelta) -> pa.Table:
        records = rows.to_pylist()
        records[0] |= {"first_flagged_at": records[0]["anchor_time"] + after, "label_needs_moderation_24h": label}
        return pa.Table.from_pylist(records, schema=rows.schema)

    tick, day = timedelta(microseconds=1), timedelta(days=1)
    for label, after in ((1, 0 * tick), (1, 2 * day), (None, tick)):
        with changed(clean, TRAINING_TABLE, partial(with_first_flag, label=label, after=after)):
            assert "whose first_flagged_at does not fit its label" in only(clean, "training rows")
    with changed(clean, TRAINING_TABLE, partial(with_first_flag, label=1, after=tick)):
        assert failed(clean) == {}


def test_a_trace_shows_what_iceberg_holds_of_an_image_and_of_one_event(clean: Scene) -> None:
    found = trace(clean.platform, clean.image_id)
    assert found.iceberg is not None
    assert found.iceberg.events == {"comment": 3, "flag": 2, "upload": 1, "view": 12}
    assert found.iceberg.records == 18
    assert sum(window.event_count for window in found.iceberg.windows) == 17
    assert [row.decision_point_minutes for row in found.iceberg.training][:2] == [0, 5]
    document = found.to_json()["iceberg"]
    assert document["events"]["view"] == 12
    assert {window["kind"] for window in document["windows"]} == {"view", "comment", "flag"}

    event = next(record for record in found.records.events if record.kind == "flag")
    followed = trace_event(clean.platform, event.event_id)
    assert followed.iceberg is not None and followed.iceberg.window is not None
    (row,) = followed.iceberg.records
    assert (row.topic, row.partition, row.offset) == (event.topic, event.partition, event.offset)
    assert row.event_time == event.event_time
    assert followed.iceberg.window.window_start <= event.event_time < followed.iceberg.window.window_end
    output = StringIO()
    print_event(Console(file=output, width=100, highlight=False), followed)
    assert f"row of {event.topic}/{event.partition}@{event.offset}" in " ".join(output.getvalue().split())


def test_an_event_that_no_aggregation_has_read_yet_is_shown_as_such(aggregated: Scene) -> None:
    event_id = aggregated.small.view(aggregated.image_id)
    followed = trace_event(aggregated.platform, event_id)
    assert followed.iceberg is not None
    assert followed.iceberg.records == []
    output = StringIO()
    print_event(Console(file=output, width=100, highlight=False), followed)
    assert "not aggregated yet" in output.getvalue()
