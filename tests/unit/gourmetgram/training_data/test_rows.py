"""Training rows and labels of hand-made histories, with the expected values written out, to the microsecond."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pytest
from ibis import ir

from gourmetgram.features import offline
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.training_data import rows as training

UPLOAD = datetime(2026, 3, 4, 12, 0, 0, 1, tzinfo=UTC)
MINUTE, HOUR, DAY, TICK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(moment: datetime) -> int:
    return (moment - EPOCH) // TICK


class History:
    """One user, one image, one comment on it; tests add the rest."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.users: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.flags: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.user("ann")
        self.image("soup", "ann")

    def user(self, name: str, born: int | None = None, test_account: bool = False) -> None:
        self.users.append(
            {
                "user_id": name,
                "created_us": us(UPLOAD - 3 * DAY),
                "year_of_birth": born,
                "is_test_account": test_account,
            }
        )

    def image(self, name: str, owner: str, at: datetime = UPLOAD, deleted: datetime | None = None) -> None:
        self.images.append(
            {
                "image_id": name,
                "user_id": owner,
                "created_us": us(at),
                "deleted_us": deleted and us(deleted),
                "category": "Soup",
                "caption_length": 3,
            }
        )

    def flag(
        self, at: datetime, status: str = "pending", eligible: bool = True, on: str = "image", image: str = "soup"
    ) -> None:
        self.flags.append(
            {
                "flag_id": f"flag-{len(self.flags)}",
                "image_id": image if on == "image" else None,
                "comment_id": "comment" if on == "comment" else None,
                "actor_eligible": eligible,
                "review_status": status,
                "created_us": us(at),
            }
        )

    def event(self, kind: str, at: datetime) -> None:
        self.events.append(
            {
                "event_id": f"event-{len(self.events)}",
                "event_type": kind,
                "image_id": "soup",
                "actor_eligible": True,
                "time_us": us(at),
                "topic": kind,
                "partition": 0,
                "offset": len(self.events),
            }
        )

    def _load(self, name: str, schema: ibis.Schema, rows: Sequence[dict[str, Any]]) -> ir.Table:
        return self.engine.load(name, schema, pa.Table.from_pylist(list(rows), schema=schema.to_pyarrow()))

    def points(self, extracted_at: datetime, complete_through: datetime | None = None) -> ir.Table:
        images = self._load("images", offline.IMAGES, self.images)
        users = self._load("users", offline.USERS, self.users)
        through = us(complete_through or extracted_at)
        return self.engine.materialise("points", training.anchors(images, users, us(extracted_at), through))

    def reasons(self, extracted_at: datetime, complete_through: datetime | None = None) -> dict[tuple[str, int], str]:
        """Why each anchor gives no row, by image and minutes."""
        found = self.engine.rows(self.points(extracted_at, complete_through)).to_pylist()
        return {(row["image_id"], row["decision_point_minutes"]): row["reason"] for row in found}

    def rows(self, extracted_at: datetime) -> list[dict[str, Any]]:
        """The training rows of all anchors without a reason, in order."""
        points = self.points(extracted_at)
        points = points.filter(points.reason.isnull())
        users = self._load("users", offline.USERS, self.users)
        images = self._load("images", offline.IMAGES, self.images)
        comments = self._load("comments", offline.COMMENTS, [{"comment_id": "comment", "image_id": "soup"}])
        flags = offline.flags_by_image(self._load("flags", offline.FLAGS, self.flags), comments)
        events = self._load("events", offline.EVENTS, self.events)
        moments = points.select("point_id", "image_id", "time_us")
        inputs = offline.feature_inputs(moments, events, users, images, flags)
        labelled = training.labels(points, flags, us(extracted_at))
        rows = training.training_rows(offline.with_features(inputs), labelled, points)
        found: list[dict[str, Any]] = self.engine.rows(rows.order_by("image_id", "anchor_time")).to_pylist()
        return found

    def labels(self, extracted_at: datetime) -> list[int | None]:
        """Labels of the image's anchors, in order."""
        points = self.points(extracted_at)
        comments = self._load("comments", offline.COMMENTS, [{"comment_id": "comment", "image_id": "soup"}])
        flags = offline.flags_by_image(self._load("flags", offline.FLAGS, self.flags), comments)
        points = points.filter(points.reason.isnull(), points.image_id == "soup")
        labelled = training.labels(points, flags, us(extracted_at)).inner_join(points, "point_id")
        rows = self.engine.rows(labelled.order_by("time_us"))
        found: list[int | None] = rows["label_needs_moderation_24h"].to_pylist()
        return found


@pytest.fixture
def history() -> Iterator[History]:
    with open_engine() as engine:
        yield History(engine)


NEXT_DAY = UPLOAD + DAY


@pytest.mark.parametrize(
    ("flagged_at", "labels"),
    [
        (UPLOAD - TICK, [0, 0, 0]),
        (UPLOAD, [0, 0, 0]),  # at the anchor itself it is a feature
        (UPLOAD + TICK, [1, 0, 0]),
        (UPLOAD + 5 * MINUTE, [1, 0, 0]),
        (UPLOAD + 5 * MINUTE + TICK, [1, 1, 0]),
        (UPLOAD + 30 * MINUTE, [1, 1, 0]),
        (UPLOAD + 30 * MINUTE + TICK, [1, 1, 1]),
        (NEXT_DAY, [1, 1, 1]),  # the end of the window belongs to it
        (NEXT_DAY + TICK, [0, 0, 0]),
    ],
)
def test_a_flag_is_the_label_of_anchors_before_it_up_to_24_hours_after_the_upload(
    history: History, flagged_at: datetime, labels: list[int]
) -> None:
    history.flag(flagged_at)
    assert history.labels(NEXT_DAY + DAY) == labels


@pytest.mark.parametrize(
    ("flagged_at", "known_flags"),
    [(UPLOAD, [1, 1, 1]), (UPLOAD + TICK, [0, 1, 1]), (UPLOAD + 5 * MINUTE, [0, 1, 1]), (NEXT_DAY, [0, 0, 0])],
)
def test_no_flag_is_both_a_feature_and_a_label(history: History, flagged_at: datetime, known_flags: list[int]) -> None:
    history.flag(flagged_at)
    rows = history.rows(NEXT_DAY + DAY)
    assert [row["total_flags"] for row in rows] == known_flags
    assert [row["total_flags"] + row["label_needs_moderation_24h"] for row in rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("extracted_at", "labels"),
    [
        (NEXT_DAY - TICK, [None, None, None]),
        (NEXT_DAY, [0, 0, 0]),
        (NEXT_DAY + DAY, [0, 0, 0]),
    ],
)
def test_no_flag_so_far_is_no_fact_before_24_hours_have_passed(
    history: History, extracted_at: datetime, labels: list[int | None]
) -> None:
    assert history.labels(extracted_at) == labels


def test_a_flag_is_a_fact_at_once(history: History) -> None:
    history.flag(UPLOAD + 10 * MINUTE)
    rows = history.rows(UPLOAD + HOUR)
    assert [row["label_needs_moderation_24h"] for row in rows] == [1, 1, None]
    assert {row["label_observed_until"] for row in rows} == {us(UPLOAD + HOUR)}


def test_a_flag_after_the_extraction_is_not_known(history: History) -> None:
    history.flag(UPLOAD + HOUR + TICK)
    assert history.labels(UPLOAD + HOUR) == [None, None, None]


def test_a_label_is_observed_until_the_extraction_but_not_beyond_24_hours(history: History) -> None:
    assert {row["label_observed_until"] for row in history.rows(NEXT_DAY - TICK)} == {us(NEXT_DAY - TICK)}
    assert {row["label_observed_until"] for row in history.rows(NEXT_DAY + HOUR)} == {us(NEXT_DAY)}


@pytest.mark.parametrize(
    ("flag", "label"),
    [
        ({"status": "pending"}, 1),
        ({"status": "confirmed"}, 1),
        ({"status": "rejected"}, 0),
        ({"eligible": False}, 0),
        ({"on": "comment"}, 1),
        ({"on": "comment", "status": "rejected"}, 0),
        ({"image": "another"}, 0),
    ],
)
def test_only_flags_that_count_make_a_label(history: History, flag: dict[str, Any], label: int) -> None:
    history.image("another", "ann", at=UPLOAD - HOUR)
    history.flag(UPLOAD + HOUR, **flag)
    assert history.labels(NEXT_DAY) == [label] * 3


def test_a_rejected_flag_is_still_a_feature(history: History) -> None:
    history.flag(UPLOAD + MINUTE, status="rejected")
    assert [row["total_flags"] for row in history.rows(NEXT_DAY)] == [0, 1, 1]


def test_a_whole_row_is_as_the_contract_says(history: History) -> None:
    for at in (UPLOAD, UPLOAD + TICK, UPLOAD + MINUTE, UPLOAD + 5 * MINUTE, UPLOAD + 5 * MINUTE + TICK):
        history.event("view", at)
    history.event("comment", UPLOAD + 4 * MINUTE)
    history.event("flag", UPLOAD + 2 * MINUTE)
    history.flag(UPLOAD + 2 * MINUTE)
    history.flag(UPLOAD + 20 * HOUR)
    first, second, third = history.rows(NEXT_DAY)
    assert second == {
        "image_id": "soup",
        "decision_point_minutes": 5,
        "time_since_upload_seconds": 300,
        "hour_of_day": 12,
        "day_of_week": 2,
        "is_weekend": 0,
        "views_5min": 3,
        "views_1hr": 4,
        "comments_5min": 1,
        "comments_1hr": 1,
        "flags_5min": 1,
        "flags_1hr": 1,
        "total_flags": 1,
        "view_velocity_per_min": 0.6,
        "comment_to_view_ratio": 0.25,
        "recent_engagement_score": 8.0,
        "caption_length": 3,
        "has_caption": 1,
        "user_image_count": 1,
        "user_age_days": 3,
        "category": "Soup",
        "label_needs_moderation_24h": 1,
        "label_observed_until": us(NEXT_DAY),
        "anchor_time": us(UPLOAD + 5 * MINUTE),
        "first_flagged_at": us(UPLOAD + 20 * HOUR),
    }
    assert list(second) == list(training.ROWS.names)
    assert (first["views_1hr"], first["total_flags"], first["anchor_time"]) == (1, 0, us(UPLOAD))
    assert (third["views_5min"], third["views_1hr"], third["time_since_upload_seconds"]) == (0, 5, 1_800)


@pytest.mark.parametrize(
    ("extracted_at", "complete_through", "reasons"),
    [
        (UPLOAD + 5 * MINUTE, UPLOAD + HOUR, [None, None, "anchor_after_extraction"]),
        (UPLOAD + 5 * MINUTE - TICK, UPLOAD + HOUR, [None, *["anchor_after_extraction"] * 2]),
        (UPLOAD + HOUR, UPLOAD + 5 * MINUTE, [None, None, "anchor_not_aggregated_yet"]),
        (UPLOAD + HOUR, UPLOAD - TICK, ["anchor_not_aggregated_yet"] * 3),
        (UPLOAD + MINUTE, UPLOAD - TICK, ["anchor_not_aggregated_yet", *["anchor_after_extraction"] * 2]),
        (UPLOAD + HOUR, UPLOAD + HOUR, [None, None, None]),
    ],
)
def test_an_anchor_waits_for_the_extraction_and_for_the_aggregation(
    history: History, extracted_at: datetime, complete_through: datetime, reasons: list[str | None]
) -> None:
    found = history.reasons(extracted_at, complete_through)
    assert [found["soup", minutes] for minutes in (0, 5, 30)] == reasons


def test_governance_excludes_test_accounts_possible_minors_and_deleted_images(history: History) -> None:
    history.user("operator", test_account=True)
    history.user("eighteen", born=UPLOAD.year - 18)
    history.user("nineteen", born=UPLOAD.year - 19)
    history.user("operator and minor", born=UPLOAD.year - 10, test_account=True)
    for name in ("operator", "eighteen", "nineteen", "operator and minor"):
        history.image(f"by {name}", name)
    history.image("deleted", "ann", deleted=UPLOAD + 10 * DAY)
    found = history.reasons(NEXT_DAY)
    assert {image: reason for (image, minutes), reason in found.items() if minutes == 0} == {
        "soup": None,
        "by operator": "uploader_is_test_account",
        "by eighteen": "uploader_may_be_under_18",
        "by nineteen": None,
        "by operator and minor": "uploader_is_test_account",
        "deleted": "image_deleted",
    }


def test_the_uploaders_age_is_that_of_the_calendar_year_in_utc(history: History) -> None:
    history.user("young", born=2007)
    history.image("old year", "young", at=datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    history.image("new year", "young", at=datetime(2026, 1, 1, tzinfo=UTC))
    found = history.reasons(NEXT_DAY)
    assert found["old year", 0] == "uploader_may_be_under_18"
    assert found["new year", 0] is None


def test_the_calendar_year_is_right_around_every_turn_of_a_year() -> None:
    for year in [*range(1, 10_000, 7), 1600, 1700, 1900, 1970, 2000, 2024, 2025, 2100]:
        begins = datetime(year, 1, 1, tzinfo=UTC)
        march = datetime(year, 3, 1, tzinfo=UTC)
        for moment in (begins, march - TICK, march, datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
            assert training.calendar_year(us(moment)) == year


def test_a_row_is_final_once_its_label_was_observed_for_24_hours(history: History) -> None:
    def final(extracted_at: datetime) -> int:
        rows = history.rows(extracted_at)
        table = history._load("rows", training.ROWS, rows)
        return int(history.engine.rows(training.final_rows(table)).num_rows)

    assert final(NEXT_DAY - TICK) == 0
    assert final(NEXT_DAY) == 3


def test_the_first_flag_of_the_window_is_kept_and_no_other(history: History) -> None:
    for at in (UPLOAD, UPLOAD + 20 * HOUR, UPLOAD + 5 * MINUTE, UPLOAD + 2 * HOUR, NEXT_DAY + TICK):
        history.flag(at)
    history.flag(UPLOAD + MINUTE, status="rejected")
    history.flag(UPLOAD + MINUTE, eligible=False)
    found = [row["first_flagged_at"] for row in history.rows(NEXT_DAY + DAY)]
    assert found == [us(UPLOAD + 5 * MINUTE), us(UPLOAD + 2 * HOUR), us(UPLOAD + 2 * HOUR)]


def test_without_a_counted_flag_there_is_no_first_one(history: History) -> None:
    history.flag(UPLOAD)
    history.flag(UPLOAD + HOUR, status="rejected")
    history.flag(UPLOAD + 3 * HOUR)
    assert [row["first_flagged_at"] for row in history.rows(UPLOAD + 2 * HOUR)] == [None] * 3


def completed(history: History, *flags: tuple[datetime, str]) -> list[int | None]:
    """`first_flagged_at` of final rows of an earlier version, all with label 1, after a run with these flags."""
    rows = [row | {"first_flagged_at": None, "label_needs_moderation_24h": 1} for row in history.rows(NEXT_DAY)]
    for at, status in flags:
        history.flag(at, status=status)
    comments = history._load("comments", offline.COMMENTS, [])
    by_image = offline.flags_by_image(history._load("flags", offline.FLAGS, history.flags), comments)
    found = training.with_first_flags(history._load("old", training.ROWS, rows), by_image)
    assert found.columns == training.ROWS.names
    moments: list[int | None] = history.engine.rows(found.order_by("anchor_time"))["first_flagged_at"].to_pylist()
    return moments


def test_rows_of_an_earlier_version_get_the_moment_that_they_lack(history: History) -> None:
    flags = [(UPLOAD + MINUTE, "rejected"), (UPLOAD + 10 * MINUTE, "confirmed"), (UPLOAD + HOUR, "pending")]
    ten, hour = us(UPLOAD + 10 * MINUTE), us(UPLOAD + HOUR)
    assert completed(history, *flags) == [ten, ten, hour]


def test_a_flag_that_was_rejected_since_stands_in_for_the_moment(history: History) -> None:
    assert completed(history, (UPLOAD + HOUR, "rejected")) == [us(UPLOAD + HOUR)] * 3


def test_a_moment_that_nothing_tells_stays_unknown_and_the_row_stays(history: History) -> None:
    assert completed(history, (UPLOAD, "pending"), (NEXT_DAY + TICK, "pending")) == [None] * 3


def test_moments_that_are_there_stay_as_they_are(history: History) -> None:
    history.flag(UPLOAD + HOUR)
    rows = history.rows(NEXT_DAY)
    none = offline.flags_by_image(
        history._load("flags", offline.FLAGS, []), history._load("comments", offline.COMMENTS, [])
    )
    kept = training.with_first_flags(history._load("old", training.ROWS, rows), none)
    assert history.engine.rows(kept.order_by("anchor_time")).to_pylist() == rows


def test_the_counting_compiles_for_spark_as_well() -> None:
    tables = {
        name: ibis.table(schema, name=name)
        for name, schema in {
            "points": offline.POINTS,
            "events": offline.EVENTS,
            "users": offline.USERS,
            "images": offline.IMAGES,
            "flags": offline.FLAGS,
            "comments": offline.COMMENTS,
            "read_limits": offline.READ_LIMITS,
        }.items()
    }
    flags = offline.flags_by_image(tables.pop("flags"), tables.pop("comments"))
    sql = str(ibis.to_sql(offline.feature_inputs(flags_of_images=flags, **tables), dialect="pyspark"))
    assert sql.count(" OVER ") == 3
    assert "`views_1hr`" in sql
