"""Rows of the training data, and their labels: expressions over the raw extract and the event history.

As in `gourmetgram.features.offline`, times are int64 microseconds and nothing here is specific to an engine.
"""

from typing import Final

import ibis
from ibis import ir

from gourmetgram.moments import DAY_US, MINUTE_US
from gourmetgram.policy.eligibility import may_be_minor

DECISION_POINTS_MINUTES: Final = (0, 5, 30)
LABEL_HORIZON_US: Final = DAY_US

ROWS: Final = ibis.schema(
    {
        "image_id": "string",
        "decision_point_minutes": "int64",
        "time_since_upload_seconds": "int64",
        "hour_of_day": "int64",
        "day_of_week": "int64",
        "is_weekend": "int64",
        "views_5min": "int64",
        "views_1hr": "int64",
        "comments_5min": "int64",
        "comments_1hr": "int64",
        "flags_5min": "int64",
        "flags_1hr": "int64",
        "total_flags": "int64",
        "view_velocity_per_min": "float64",
        "comment_to_view_ratio": "float64",
        "recent_engagement_score": "float64",
        "caption_length": "int64",
        "has_caption": "int64",
        "user_image_count": "int64",
        "user_age_days": "int64",
        "category": "string",
        "label_needs_moderation_24h": "int64",
        "label_observed_until": "int64",
        "anchor_time": "int64",
        "first_flagged_at": "int64",
    }
)
"""The columns of moderation.training_data in order, the three times as microseconds."""

# Reasons for which an anchor gives no row. An anchor with several reasons is counted under the first.
TEST_ACCOUNT: Final = "uploader_is_test_account"
MAY_BE_MINOR: Final = "uploader_may_be_under_18"
IMAGE_DELETED: Final = "image_deleted"
NO_UPLOAD_TIME: Final = "no_upload_time"
AFTER_EXTRACTION: Final = "anchor_after_extraction"
NOT_AGGREGATED: Final = "anchor_not_aggregated_yet"
NO_UPLOAD_EVENT: Final = "no_upload_event"
GOVERNANCE_REASONS: Final = (TEST_ACCOUNT, MAY_BE_MINOR, IMAGE_DELETED)
DROP_REASONS: Final = (
    *GOVERNANCE_REASONS,
    NO_UPLOAD_TIME,
    AFTER_EXTRACTION,
    NOT_AGGREGATED,
    NO_UPLOAD_EVENT,
)

_LABEL_STATUSES: Final = ("pending", "confirmed")


def anchors(images: ir.Table, users: ir.Table, extracted_us: int, complete_through_us: int) -> ir.Table:
    """Every image at every decision point, with the reason if the extract excludes it.

    Args:
        images: schema `offline.IMAGES`.
        users: schema `offline.USERS`.
        extracted_us: moment of the extract; it holds nothing later.
        complete_through_us: watermark of the event history; later events may be missing.

    Returns:
        `point_id`, `image_id`, `decision_point_minutes`, `upload_us`, `time_us` and `reason`, one of `DROP_REASONS`
        or null.
    """
    table = _image_reasons(images, users)
    points = [
        table.select(
            "image_id",
            "upload_us",
            "image_reason",
            point_id=table.image_id + f"/{minutes}",
            decision_point_minutes=ibis.literal(minutes, "int64"),
            time_us=table.upload_us + minutes * MINUTE_US,
        )
        for minutes in DECISION_POINTS_MINUTES
    ]
    table = ibis.union(*points)
    time_reason = ibis.cases(
        (table.upload_us.isnull(), NO_UPLOAD_TIME),
        (table.time_us > extracted_us, AFTER_EXTRACTION),
        (table.time_us > complete_through_us, NOT_AGGREGATED),
        else_=ibis.null("string"),
    )
    return table.mutate(reason=ibis.coalesce(table.image_reason, time_reason)).drop("image_reason")


def _image_reasons(images: ir.Table, users: ir.Table) -> ir.Table:
    """Images with the governance reason that excludes them from all rows; null for none."""
    owners = users.select("user_id", "year_of_birth", "is_test_account")
    table = images.inner_join(owners, "user_id")
    reason = ibis.cases(
        (table.is_test_account, TEST_ACCOUNT),
        (may_be_minor(table.year_of_birth, calendar_year(table.created_us)), MAY_BE_MINOR),
        (table.deleted_us.notnull(), IMAGE_DELETED),
        else_=ibis.null("string"),
    )
    return table.select("image_id", upload_us="created_us", image_reason=reason)


def calendar_year(time_us: ibis.Value) -> ibis.Value:
    """The calendar year (UTC) of a time, in arithmetic only: years that begin in March, in cycles of 400.

    The algorithm is `civil_from_days` of H. Hinnant, "chrono-compatible low-level date algorithms". It takes one int or
    a column of a query, like the formulas of the features.
    """
    days = time_us // DAY_US + 719_468
    cycle = days // 146_097
    day_of_cycle = days - cycle * 146_097
    year_of_cycle = (day_of_cycle - day_of_cycle // 1_460 + day_of_cycle // 36_524 - day_of_cycle // 146_096) // 365
    day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle // 4 - year_of_cycle // 100)
    # January and February, days 306 and later, belong to the next calendar year.
    return cycle * 400 + year_of_cycle + day_of_year // 306


def labels(points: ir.Table, flags_of_images: ir.Table, extracted_us: int) -> ir.Table:
    """Labels: flags of each image after its anchor, as far as the extract knows.

    Args:
        points: `point_id`, `image_id`, `upload_us` and `time_us`, none later than `extracted_us`.
        flags_of_images: result of `offline.flags_by_image`.
        extracted_us: moment of the extract; it holds nothing later.

    Returns:
        `point_id`, `label_needs_moderation_24h` (1, 0, or null while it is not known), `label_observed_until` and
        `first_flagged_at`: the first flag that counts in (t, upload + 24 h], null without one.
    """
    points = points.mutate(until_us=ibis.least(points.upload_us + LABEL_HORIZON_US, extracted_us))
    table = points.left_join(_first_flags(points, flags_of_images), "point_id")
    first_us = table.counted_us
    label = ibis.cases(
        (first_us.notnull(), 1),
        (table.upload_us + LABEL_HORIZON_US <= extracted_us, 0),
        else_=ibis.null("int64"),
    )
    return table.select(
        "point_id",
        label_needs_moderation_24h=label.cast("int64"),
        label_observed_until="until_us",
        first_flagged_at=first_us,
    )


def _first_flags(points: ir.Table, flags_of_images: ir.Table) -> ir.Table:
    """The first flags by eligible actors in the window (`time_us`, `until_us`] of each point that has one.

    Half-open: a flag at the anchor itself is a feature (total_flags), one at the end is a label.

    Returns:
        `point_id`, `counted_us` (review status pending or confirmed) and `any_us` (rejected flags, too).
    """
    flags = flags_of_images.filter(flags_of_images.actor_eligible)
    flags = flags.select("image_id", "review_status", flagged_us="created_us")
    pairs = points.select("point_id", "image_id", "time_us", "until_us").inner_join(flags, "image_id")
    pairs = pairs.filter(pairs.flagged_us > pairs.time_us, pairs.flagged_us <= pairs.until_us)
    counts = pairs.review_status.isin(_LABEL_STATUSES)
    return pairs.group_by("point_id").aggregate(
        counted_us=pairs.flagged_us.min(where=counts), any_us=pairs.flagged_us.min()
    )


def final_rows(rows: ir.Table) -> ir.Table:
    """Rows (schema `ROWS`) whose label horizon is over: they are never computed again."""
    horizon = LABEL_HORIZON_US - rows.decision_point_minutes * MINUTE_US
    return rows.filter(rows.label_observed_until == rows.anchor_time + horizon)


def with_first_flags(rows: ir.Table, flags_of_images: ir.Table) -> ir.Table:
    """Rows (schema `ROWS`), with `first_flagged_at` added where it is missing although the label is 1.

    Such rows became final before the table had the column. The flag that made the label may have been rejected since:
    then the first rejected flag is used. If the window has no flag any more, the column stays null.

    Args:
        rows: final rows.
        flags_of_images: result of `offline.flags_by_image`.
    """
    lacking = rows.filter(rows.label_needs_moderation_24h == 1, rows.first_flagged_at.isnull())
    points = lacking.select(
        "image_id",
        point_id=_point_id(lacking.image_id, lacking.decision_point_minutes),
        time_us="anchor_time",
        until_us="label_observed_until",
    )
    found = _first_flags(points, flags_of_images)
    rows = rows.mutate(point_id=_point_id(rows.image_id, rows.decision_point_minutes))
    table = rows.left_join(found, "point_id")
    first_us = ibis.coalesce(table.first_flagged_at, table.counted_us, table.any_us)
    return table.mutate(first_flagged_at=first_us).select(*ROWS.names)


def _point_id(image_id: ir.Column, minutes: ir.Column) -> ir.Column:
    return image_id + "/" + minutes.cast("string")


def training_rows(featured: ir.Table, labelled: ir.Table, points: ir.Table) -> ir.Table:
    """Rows of schema `ROWS`.

    Args:
        featured: result of `offline.with_features` for the points.
        labelled: result of `labels` for the points.
        points: `point_id` and `decision_point_minutes`.
    """
    table = featured.inner_join(labelled, "point_id")
    table = table.inner_join(points.select("point_id", "decision_point_minutes"), "point_id")
    table = table.rename(anchor_time="time_us")
    return table.select(**{name: table[name].cast(kind) for name, kind in ROWS.items()})
