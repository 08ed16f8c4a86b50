"""moderation.training_data after any number of runs: one row per image and decision point, nothing known too early."""

from datetime import UTC, datetime, timedelta

import psycopg2
import pyarrow.parquet as pq
import pytest
from pyiceberg.schema import Schema

from gourmetgram.errors import PermanentError
from gourmetgram.training_data.extract import RAW_TABLES, RawTable
from gourmetgram.training_data.table import DEFINITION, ICEBERG_SCHEMA, TRAINING_TABLE
from gourmetgram.training_data.transform import PROCESSED_FILE
from tests.support.databases import owner_url
from tests.support.training_pipeline import TrainingPipeline

pytestmark = pytest.mark.servers

MINUTES, HOURS, DAYS = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_each_image_gives_a_row_per_decision_point_that_has_passed(pipeline: TrainingPipeline) -> None:
    old, young, fresh = pipeline.image(2 * DAYS), pipeline.image(10 * MINUTES), pipeline.image(0 * DAYS)
    transformation, load = pipeline.run()
    assert set(pipeline.rows()) == {(old, 0), (old, 5), (old, 30), (young, 0), (young, 5), (fresh, 0)}
    assert (transformation.kept, load.rows, load.added) == (6, 6, 6)
    assert transformation.dropped["anchor_after_extraction"] == 3


def test_the_columns_and_the_snapshot_are_those_of_the_contract(pipeline: TrainingPipeline) -> None:
    image = pipeline.image(2 * DAYS, category=" Soup ", caption="naïve 🍜")
    pipeline.image(2 * DAYS, pipeline.people.user(is_test_account=True))
    pipeline.image(2 * DAYS, pipeline.people.user(year_of_birth=pipeline.now.year - 10))
    pipeline.image(2 * DAYS, deleted_at=pipeline.now)
    pipeline.image(2 * DAYS, event=False)
    for seconds in (0, 299, 301):
        pipeline.publish("view", image, pipeline.now - 2 * DAYS + timedelta(seconds=seconds))
    transformation, load = pipeline.run()
    row = pipeline.rows()[image, 5]
    assert (row["category"], row["caption_length"], row["views_5min"], row["views_1hr"]) == ("Soup", 7, 1, 2)
    assert row["anchor_time"] == pipeline.now - 2 * DAYS + 5 * MINUTES
    assert row["label_observed_until"] == pipeline.now - DAYS
    assert pipeline.summary() == {
        "extraction_id": transformation.extraction_id,
        "extracted_at": transformation.extracted_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "events_snapshot_id": str(transformation.events_snapshot_id),
        "rows_kept": "3",
        "rows_dropped": {
            "uploader_is_test_account": 3,
            "uploader_may_be_under_18": 3,
            "image_deleted": 3,
            "no_upload_event": 3,
        },
    }
    with pipeline.table() as table:
        assert [(field.name, str(field.field_type)) for field in table.schema().fields][:3] == [
            ("image_id", "string"),
            ("decision_point_minutes", "long"),
            ("time_since_upload_seconds", "long"),
        ]
        assert len(table.schema().fields) == 25
        assert [field.name for field in table.schema().fields][-2:] == ["anchor_time", "first_flagged_at"]
        assert table.location().endswith("/warehouse/moderation/training_data")
        assert table.metadata.current_snapshot_id == load.snapshot_id


def test_repeating_tasks_changes_nothing(pipeline: TrainingPipeline) -> None:
    for _ in range(3):
        pipeline.image(2 * DAYS)
    pipeline.run()
    rows, snapshots = pipeline.rows(), pipeline.snapshot_ids()
    assert pipeline.load().added == 0
    pipeline.transform()
    pipeline.load()
    pipeline.run()
    pipeline.run()
    assert pipeline.rows() == rows
    assert pipeline.snapshot_ids() == snapshots


def test_a_label_that_becomes_known_replaces_its_row_in_a_new_snapshot(pipeline: TrainingPipeline) -> None:
    young, old = pipeline.image(HOURS), pipeline.image(3 * DAYS)
    pipeline.run()
    first = pipeline.snapshot_ids()[-1]
    assert pipeline.labels(young) == [None, None, None]
    pipeline.flag(young, 45 * MINUTES)
    _, load = pipeline.run()
    assert pipeline.labels(young) == [1, 1, None]
    assert (load.rows, load.removed, load.added) == (6, 3, 3)
    with pipeline.table() as table:
        before = table.scan(snapshot_id=first).to_arrow().to_pylist()
    assert {row["label_needs_moderation_24h"] for row in before if row["image_id"] == young} == {None}
    assert pipeline.labels(old) == [0, 0, 0]
    rows, flagged_at = pipeline.rows(), pipeline.now - 45 * MINUTES
    assert [rows[young, minutes]["first_flagged_at"] for minutes in (0, 5, 30)] == [flagged_at, flagged_at, None]


def make_old(pipeline: TrainingPipeline) -> None:
    """Put the table back to what earlier versions of the platform left: no column first_flagged_at."""
    with pipeline.table() as table:
        rows, properties = table.scan().to_arrow(), table.properties
    with pipeline.platform.catalog() as catalog:
        catalog.drop_table(TRAINING_TABLE)
        columns = Schema(*(field for field in ICEBERG_SCHEMA.fields if field.name != "first_flagged_at"))
        table = catalog.create_table(
            TRAINING_TABLE, columns, partition_spec=DEFINITION.partition_spec, properties=properties
        )
        table.append(rows.drop_columns(["first_flagged_at"]))


def test_a_table_of_an_earlier_version_is_brought_up_to_date_without_losing_a_row(pipeline: TrainingPipeline) -> None:
    images = [pipeline.image(ago) for ago in (4 * DAYS, 3 * DAYS, 2 * DAYS, HOURS)]
    old, rejected, lost, young = images
    pipeline.flag(old, 4 * DAYS - HOURS)
    later = pipeline.flag(rejected, 3 * DAYS - 2 * HOURS)
    gone = pipeline.flag(lost, 2 * DAYS - HOURS)
    pipeline.flag(young, 20 * MINUTES)
    pipeline.run()
    rows = pipeline.rows()
    make_old(pipeline)
    pipeline.sql("UPDATE flags SET review_status = 'rejected' WHERE id = %s", later)
    pipeline.sql("DELETE FROM flags WHERE id = %s", gone)
    transformation, load = pipeline.run()
    assert (transformation.carried, load.rows) == (9, len(rows))
    expected = {key: row | ({"first_flagged_at": None} if key[0] == lost else {}) for key, row in rows.items()}
    young_rows = {key: row.pop("label_observed_until") for key, row in expected.items() if key[0] == young}
    found = pipeline.rows()
    assert all(found[key].pop("label_observed_until") > until for key, until in young_rows.items())
    assert found == expected
    with pipeline.table() as table:
        assert table.schema().column_names == ICEBERG_SCHEMA.column_names
    pipeline.sql("UPDATE images SET deleted_at = now() WHERE id = %s", young)
    pipeline.run()
    assert pipeline.rows() == {key: row for key, row in found.items() if key[0] != young}


def test_a_flag_that_is_rejected_while_the_row_is_young_no_longer_counts(pipeline: TrainingPipeline) -> None:
    image = pipeline.image(2 * HOURS)
    flag = pipeline.flag(image, HOURS)
    pipeline.run()
    assert pipeline.labels(image) == [1, 1, 1]
    pipeline.sql("UPDATE flags SET review_status = 'rejected' WHERE id = %s", flag)
    pipeline.run()
    assert pipeline.labels(image) == [None, None, None]


def test_final_rows_keep_their_values_whatever_comes_later(pipeline: TrainingPipeline) -> None:
    image = pipeline.image(3 * DAYS)
    flag = pipeline.flag(image, 3 * DAYS - HOURS)
    pipeline.run()
    rows, snapshots = pipeline.rows(), pipeline.snapshot_ids()
    pipeline.sql("UPDATE flags SET review_status = 'rejected' WHERE id = %s", flag)
    pipeline.publish("view", image, pipeline.now - 3 * DAYS + MINUTES)
    transformation, _ = pipeline.run()
    assert pipeline.rows() == rows
    assert pipeline.snapshot_ids() == snapshots
    assert transformation.carried == 3


def test_deleted_images_and_owners_who_became_ineligible_leave_the_table(pipeline: TrainingPipeline) -> None:
    owner = pipeline.people.user()
    kept, deleted, gone, theirs = (
        pipeline.image(3 * DAYS),
        pipeline.image(40 * DAYS),
        pipeline.image(5 * DAYS),
        pipeline.image(4 * DAYS, owner),
    )
    pipeline.run()
    kept_rows = {key: row for key, row in pipeline.rows().items() if key[0] == kept}
    assert {image for image, _ in pipeline.rows()} == {kept, deleted, gone, theirs}
    pipeline.sql("UPDATE images SET deleted_at = now() WHERE id = %s", deleted)
    pipeline.sql("DELETE FROM images WHERE id = %s", gone)
    pipeline.sql("UPDATE users SET is_test_account = true WHERE id = %s", owner)
    transformation, load = pipeline.run()
    assert pipeline.rows() == kept_rows
    assert (load.removed, load.added) == (9, 0)
    assert transformation.dropped["image_deleted"] == transformation.dropped["uploader_is_test_account"] == 3


def test_anchors_that_the_aggregation_has_not_reached_wait_for_it(pipeline: TrainingPipeline) -> None:
    early = pipeline.image(DAYS)
    pipeline.platform.aggregate()
    late = pipeline.image(0 * DAYS)
    pipeline.sql("UPDATE images SET created_at = clock_timestamp() WHERE id = %s", late)
    transformation, _ = pipeline.train()
    assert {image for image, _ in pipeline.rows()} == {early}
    assert transformation.dropped["anchor_not_aggregated_yet"] >= 1
    pipeline.run()
    assert (late, 0) in pipeline.rows()


def test_without_images_the_table_exists_and_is_empty(pipeline: TrainingPipeline) -> None:
    transformation, load = pipeline.train()
    assert (transformation.kept, load.rows, load.snapshot_id) == (0, 0, None)
    assert pipeline.rows() == {}


def test_images_without_any_aggregation_are_an_error_that_says_what_to_run(pipeline: TrainingPipeline) -> None:
    pipeline.image(DAYS)
    pipeline.extract()
    with pytest.raises(PermanentError, match="run redpanda_event_aggregation first"):
        pipeline.transform()


def test_the_last_image_can_leave_the_table(pipeline: TrainingPipeline) -> None:
    image = pipeline.image(2 * DAYS)
    pipeline.run()
    pipeline.sql("UPDATE images SET deleted_at = now() WHERE id = %s", image)
    pipeline.run()
    assert pipeline.rows() == {}


def test_raw_files_of_two_extractions_are_refused(pipeline: TrainingPipeline) -> None:
    pipeline.image(DAYS)
    pipeline.platform.aggregate()
    pipeline.extract()
    older = pipeline.folder / "users.parquet"
    pipeline.lake.download(RawTable.file_name("users"), older)
    pipeline.extract()
    pipeline.lake.upload(older, RawTable.file_name("users"))
    with pytest.raises(PermanentError, match="different extractions"):
        pipeline.transform()


@pytest.mark.parametrize("table", list(RAW_TABLES))
def test_a_missing_raw_file_is_an_error_that_names_it(pipeline: TrainingPipeline, table: str) -> None:
    pipeline.extract()
    pipeline.lake._client.delete_object(
        Bucket="gourmetgram-datalake", Key=pipeline.lake.uri(RawTable.file_name(table)).split("/", 3)[3]
    )
    with pytest.raises(PermanentError, match=f"raw/{table}/latest.parquet does not exist"):
        pipeline.transform()


@pytest.mark.parametrize("content", [b"", b"PAR1 half a file"])
def test_unreadable_files_fail_the_tasks_and_leave_the_table_as_it_was(
    pipeline: TrainingPipeline, content: bytes
) -> None:
    image = pipeline.image(2 * DAYS)
    pipeline.run()
    broken = pipeline.folder / "broken.parquet"
    broken.write_bytes(content)
    pipeline.lake.upload(broken, PROCESSED_FILE)
    with pytest.raises(PermanentError, match="cannot be read"):
        pipeline.load()
    pipeline.lake.upload(broken, RawTable.file_name("images"))
    with pytest.raises(PermanentError, match="not a file of extract_data"):
        pipeline.transform()
    assert {key[0] for key in pipeline.rows()} == {image}


def test_a_processed_file_of_another_shape_is_refused(pipeline: TrainingPipeline) -> None:
    pipeline.extract()
    other = pipeline.folder / "other.parquet"
    pipeline.lake.download(RawTable.file_name("users"), other)
    pipeline.lake.upload(other, PROCESSED_FILE)
    with pytest.raises(PermanentError, match="not a file of transform_features"):
        pipeline.load()


def test_a_processed_file_that_waited_while_a_later_run_went_through_is_refused(pipeline: TrainingPipeline) -> None:
    pipeline.image(2 * DAYS)
    pipeline.run()
    older = pipeline.folder / "older.parquet"
    pipeline.lake.download(PROCESSED_FILE, older)
    pipeline.image(2 * DAYS)
    pipeline.run()
    pipeline.lake.upload(older, PROCESSED_FILE)
    with pytest.raises(PermanentError, match="the table already holds that of"):
        pipeline.load()
    assert len(pipeline.rows()) == 6


def test_the_extract_holds_no_text_and_only_the_columns_that_are_read(pipeline: TrainingPipeline) -> None:
    image = pipeline.image(DAYS, caption="secret caption")
    pipeline.people.comment(image, content="secret comment")
    pipeline.people.flag(image_id=image, reason="secret reason")
    extraction = pipeline.extract()
    columns = {}
    for table in RAW_TABLES:
        path = pipeline.folder / f"{table}.parquet"
        pipeline.lake.download(RawTable.file_name(table), path)
        content = pq.read_table(path)
        columns[table] = content.column_names
        assert "secret" not in str(content.to_pylist())
        assert content.schema.metadata[b"gourmetgram.extraction_id"].decode() == extraction.extraction_id
    assert columns == {
        "users": ["id", "created_at", "year_of_birth", "is_test_account"],
        "images": ["id", "user_id", "created_at", "deleted_at", "category", "caption_length"],
        "comments": ["id", "image_id"],
        "flags": ["id", "image_id", "comment_id", "actor_eligible", "review_status", "created_at"],
        "image_milestones": ["image_id", "milestone_type", "milestone_value", "reached_at"],
    }


def test_an_extract_reaches_only_as_far_as_open_transactions_allow(pipeline: TrainingPipeline) -> None:
    with (
        psycopg2.connect(owner_url(pipeline.platform.sources.postgres.database_url)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("INSERT INTO users (username, created_at) VALUES ('slow', now()) RETURNING created_at")
        (began,) = cursor.fetchone()
        extraction = pipeline.extract()
        assert extraction.extracted_at <= began < datetime.now(UTC)
        assert extraction.rows["users"] == 0
    connection.close()
    assert pipeline.extract().extracted_at > began


def test_a_processed_file_holds_exactly_the_rows_of_the_table(pipeline: TrainingPipeline) -> None:
    for ago in (3 * DAYS, 2 * DAYS, 2 * HOURS):
        pipeline.image(ago)
    pipeline.run()
    pipeline.run()
    path = pipeline.folder / "processed.parquet"
    pipeline.lake.download(PROCESSED_FILE, path)
    processed = {(row["image_id"], row["decision_point_minutes"]): row for row in pq.read_table(path).to_pylist()}
    assert processed == pipeline.rows()


def test_categories_and_captions_never_leak_between_images(pipeline: TrainingPipeline) -> None:
    first, second = pipeline.image(DAYS * 2, category="Egg"), pipeline.image(DAYS * 2, category='odd, "text"\nhere')
    third = pipeline.image(DAYS * 2, category=None, caption="")
    pipeline.run()
    rows = pipeline.rows()
    assert [rows[image, 0]["category"] for image in (first, second, third)] == ["Egg", "Unknown", "Unknown"]
    assert rows[third, 0]["has_caption"] == 0
