"""The inputs of the 29 features for many moments at once, from event history and database rows.

The functions return expressions: Ibis turns them into SQL for DuckDB or Apache Spark. So they use
plain joins, aggregations and window functions only. All times are int64 microseconds since the epoch, UTC: exact, and
the same in every engine. The formulas are those of `definition`.

Two techniques keep the work linear, however unevenly events are spread over images and users:

- A window reaches back at most one hour from t: it lies in the clock hour of t and the one before. A join on
  (image, hour) compares a moment with two hours of its image's events, never with all of them.
- "Up to t" counts are running sums over changes and moments in one order of time, never a join of both.

Counting in 5-minute tiles plus edges was measured and not faster: docs/decisions/offline-features.md.
"""

from typing import Final

import ibis
from ibis import ir

from gourmetgram.features.definition import FEATURE_NAMES, FeatureInputs, feature_vector
from gourmetgram.moments import HOUR_US
from gourmetgram.windows import COUNTED_KINDS, COUNTED_WINDOWS

EVENTS: Final = ibis.schema(
    {
        "event_id": "string",
        "event_type": "string",
        "image_id": "string",
        "actor_eligible": "boolean",
        "time_us": "int64",
        "topic": "string",
        "partition": "int32",
        "offset": "int64",
    }
)
"""Bronze events. Duplicates of one event_id are allowed: the first offset counts."""

USERS: Final = ibis.schema(
    {"user_id": "string", "created_us": "int64", "year_of_birth": "int32", "is_test_account": "boolean"}
)

IMAGES: Final = ibis.schema(
    {
        "image_id": "string",
        "user_id": "string",
        "created_us": "int64",
        "deleted_us": "int64",
        "category": "string",
        "caption_length": "int64",
    }
)
"""Rows of images; `category` is one of the eleven or Unknown, `caption_length` 0 for no caption."""

COMMENTS: Final = ibis.schema({"comment_id": "string", "image_id": "string"})

FLAGS: Final = ibis.schema(
    {
        "flag_id": "string",
        "image_id": "string",
        "comment_id": "string",
        "actor_eligible": "boolean",
        "review_status": "string",
        "created_us": "int64",
    }
)

POINTS: Final = ibis.schema({"point_id": "string", "image_id": "string", "time_us": "int64"})
"""The moments t to compute features for; `point_id` is unique."""

READ_LIMITS: Final = ibis.schema(
    {"point_id": "string", "topic": "string", "partition": "int32", "next_offset": "int64"}
)
"""Read limits of a moment: only records below them count, and none of a partition that is not listed."""


def feature_inputs(
    points: ir.Table,
    events: ir.Table,
    users: ir.Table,
    images: ir.Table,
    flags_of_images: ir.Table,
    read_limits: ir.Table | None = None,
) -> ir.Table:
    """The `FeatureInputs` of every moment whose image has a row, one row each.

    Args:
        points: schema `POINTS`.
        events: schema `EVENTS`.
        users: schema `USERS`.
        images: schema `IMAGES`.
        flags_of_images: result of `flags_by_image`.
        read_limits: schema `READ_LIMITS`, to count only the records that a reader had read; None counts all events.

    Returns:
        `point_id`, `image_id` and the fields of `FeatureInputs`.
    """
    moments = points.inner_join(images, "image_id").inner_join(users.rename(user_created_us="created_us"), "user_id")
    moments = moments.select(
        "point_id",
        "image_id",
        "user_id",
        "time_us",
        "category",
        "caption_length",
        upload_us=moments.created_us,
        # An account without a date has no age: it counts as made at t.
        user_created_us=ibis.coalesce(moments.user_created_us, moments.time_us),
    )
    flagged = count_until(
        moments.select("point_id", "time_us", key="image_id"),
        flags_of_images.filter(flags_of_images.actor_eligible).select(
            key="image_id", time_us="created_us", change=ibis.literal(1, "int64")
        ),
    )
    owned = count_until(moments.select("point_id", "time_us", key="user_id"), _image_changes(images))
    counted = moments.left_join(window_counts(points, events, read_limits), "point_id")
    counted = counted.inner_join(flagged.rename(total_flags="total"), "point_id")
    counted = counted.inner_join(owned.rename(user_image_count="total"), "point_id")
    windows = {name: ibis.coalesce(counted[name], 0).cast("int64") for name in _WINDOWS}
    fields = {name: windows[name] if name in windows else counted[name] for name in FeatureInputs._fields}
    return counted.select("point_id", "image_id", **fields)


def with_features(inputs: ir.Table) -> ir.Table:
    """Add the 29 features to a table that has the columns of `FeatureInputs`; its other columns stay."""
    vector = feature_vector(FeatureInputs(**{name: inputs[name] for name in FeatureInputs._fields}))
    return inputs.mutate(**dict(zip(FEATURE_NAMES, vector, strict=True)))


_WINDOWS: Final = {name: counted for name, counted in COUNTED_WINDOWS.items() if name in FeatureInputs._fields}


def window_counts(points: ir.Table, events: ir.Table, read_limits: ir.Table | None = None) -> ir.Table:
    """Distinct events of eligible actors in (t - w, t], by kind, for w of 5 minutes and one hour.

    Args:
        points: schema `POINTS`.
        events: schema `EVENTS`.
        read_limits: schema `READ_LIMITS`, or None to count all events.

    Returns:
        `point_id` and the six window features; no row for a moment without any event in its hour.
    """
    hour = points.time_us // HOUR_US
    hours = points.mutate(hour=hour).union(points.mutate(hour=hour - 1))
    in_reach = _first_copies(_counted_events(events).semi_join(hours, ["image_id", "hour"]))
    pairs = hours.inner_join(in_reach.rename(event_us="time_us"), ["image_id", "hour"])
    pairs = pairs.filter(pairs.event_us <= pairs.time_us, pairs.event_us > pairs.time_us - HOUR_US)
    if read_limits is not None:
        pairs = pairs.inner_join(read_limits, ["point_id", "topic", "partition"])
        pairs = pairs.filter(pairs.offset < pairs.next_offset)
    counts = {
        name: ((pairs.event_type == of.kind) & (pairs.event_us > pairs.time_us - of.width_us)).sum().cast("int64")
        for name, of in _WINDOWS.items()
    }
    return pairs.group_by("point_id").aggregate(**counts)


def _counted_events(events: ir.Table) -> ir.Table:
    """Events that count, each with its clock hour."""
    counted = events.filter(events.actor_eligible, events.event_type.isin(tuple(COUNTED_KINDS)))
    return counted.mutate(hour=counted.time_us // HOUR_US)


def _first_copies(events: ir.Table) -> ir.Table:
    """One row per event_id. Duplicates differ only in their position in Kafka: the first position counts."""
    order = ibis.window(group_by="event_id", order_by=["topic", "partition", "offset"])
    return events.mutate(copy=ibis.row_number().over(order)).filter(ibis._.copy == 0).drop("copy")


def flags_by_image(flags: ir.Table, comments: ir.Table) -> ir.Table:
    """Flags with their image: the image that the flag names, and the image of its comment.

    A flag without a time (written by hand) is left out.

    Returns:
        `flag_id`, `image_id`, `actor_eligible`, `review_status`, `created_us`; each flag once per image.
    """
    columns = ["flag_id", "image_id", "actor_eligible", "review_status", "created_us"]
    flags = flags.filter(flags.created_us.notnull())
    on_images = flags.filter(flags.image_id.notnull()).select(columns)
    on_comments = flags.drop("image_id").inner_join(comments, "comment_id").select(columns)
    return on_images.union(on_comments, distinct=True)


def _image_changes(images: ir.Table) -> ir.Table:
    """Changes of the number of a user's images: +1 at each upload, -1 at each deletion."""
    uploads = images.filter(images.created_us.notnull())
    deleted = uploads.filter(uploads.deleted_us.notnull())
    return uploads.select(key="user_id", time_us="created_us", change=ibis.literal(1, "int64")).union(
        deleted.select(
            key="user_id",
            # A deletion time before the upload is wrong; the deletion takes effect at the upload.
            time_us=ibis.greatest(deleted.created_us, deleted.deleted_us),
            change=ibis.literal(-1, "int64"),
        )
    )


def count_until(points: ir.Table, changes: ir.Table) -> ir.Table:
    """Sum of all changes at or before each moment.

    Args:
        points: `point_id`, `key` and `time_us`.
        changes: `key`, `time_us` and `change` (int64).

    Returns:
        `point_id` and `total`, one row for every point.
    """
    marked = points.select("key", "time_us", "point_id", is_point=1, change=ibis.literal(0, "int64"))
    noted = changes.select("key", "time_us", point_id=ibis.null("string"), is_point=0, change=changes.change)
    # Changes at the moment itself count, so they come before it in the order.
    order = ibis.cumulative_window(group_by="key", order_by=["time_us", "is_point"])
    both = marked.union(noted)
    both = both.mutate(total=both.change.sum().over(order).cast("int64"))
    return both.filter(both.is_point == 1).select("point_id", "total")
