"""Facts that several checks need, derived once from the tables of the stores."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from gourmetgram.events import LATE_AFTER_US, request_uuid
from gourmetgram.moments import HOUR_US, MINUTE_US, SECOND_US
from gourmetgram.topics import CONFIG
from gourmetgram.windows import (
    COOL_DOWN_US,
    COUNTED_WINDOWS,
    IDLE_TTL_S,
    LONGEST_WINDOW,
    MILESTONES,
    UPLOAD_TRIGGER,
    WINDOW_TTL_S,
    TriggerSettings,
    anchor_minutes,
    anchor_trigger,
)
from gourmetgram_tools.inspection.tables import StoreTables
from gourmetgram_tools.inspection.triggers import CountedEvent, ImageEvents, all_raised, of_upload

SWEPT_WITHIN_US: Final = 15 * MINUTE_US
"""Age at which a running API has removed an orphan: the minimum age is a minute (ORPHAN_AFTER_SECONDS), a sweep runs
every ten minutes, and the rest is for retries."""

_CONSTANTS: Final = {
    "hour_us": HOUR_US,
    "total_ttl_us": IDLE_TTL_S * SECOND_US,
    "hour_set_ttl_us": WINDOW_TTL_S[LONGEST_WINDOW] * SECOND_US,
    "cool_down_us": COOL_DOWN_US,
    "late_after_us": LATE_AFTER_US,
    "swept_within_us": SWEPT_WITHIN_US,
    "retention_us": int(CONFIG["retention.ms"]) * 1_000,
    # Tolerance: a key is written shortly after the broker has stored the event, and read shortly after the audit began.
    "slack_us": MINUTE_US,
}

# API v1 writes rows without events, and Kafka removes old records. So a row without an event is a difference only if it
# was written while events existed: since the earliest broker time of an event, or the oldest event in the outbox.
# After a removal of records: since the time from which all partitions are complete. An erasure removes records of any
# topic up to its end, and what is missing of the time that Kafka keeps was removed by it.
_COVERAGE: Final = """
WITH firsts AS (
    SELECT topic, partition, min_by(broker_us, "offset") AS first_us
    FROM (SELECT topic, partition, "offset", broker_us FROM records UNION ALL FROM bad_records)
    WHERE topic IN (SELECT topic FROM spans) GROUP BY topic, partition
)
SELECT coalesce(bool_or(first > 0), false) OR EXISTS (FROM erasures),
       CASE WHEN erased_us() > now_us() - retention_us() THEN erased_us()
            ELSE coalesce(max(coalesce(first_us, now_us())) FILTER (first > 0),
                          least(min(first_us), (SELECT min(created_us) FROM outbox)), now_us()) END
FROM spans LEFT JOIN firsts USING (topic, partition)
"""

_MACROS: Final = """
-- A row of an image must have its event: written since events exist, or backfilled with events.
CREATE MACRO must_have_events(image, created) AS strict() OR created >= start_us()
    OR (NOT truncated() AND image IN (SELECT image_id FROM images WHERE source = 'synthetic'));
-- Kafka still holds every event that an image ever had.
CREATE MACRO is_complete(image) AS NOT truncated()
    OR image IN (SELECT image_id FROM images WHERE created_us >= start_us());
-- All events of an image are known, in a defined order.
CREATE MACRO is_comparable(image) AS is_complete(image)
    AND image NOT IN (SELECT image_id FROM seen_images WHERE scattered);
-- A key that an event wrote cannot have expired yet.
CREATE MACRO is_young(broker_us, ttl_us) AS broker_us > now_us() - ttl_us + slack_us();
-- The member of an event in its windows.
CREATE MACRO member_of(kind, time_us, event_id) AS kind || ':' || CASE WHEN time_us < 0 THEN '-' ELSE '' END
    || printf('%d.%06d', abs(time_us) // 1000000, abs(time_us) % 1000000) || ':' || left(event_id::VARCHAR, 8);
"""

_EVENTS: Final = """
-- Records after the first of their event.
CREATE TABLE copies AS
SELECT topic, partition, "offset", event_id
FROM (
    FROM records SELECT topic, partition, "offset", event_id,
        row_number() OVER (PARTITION BY event_id ORDER BY broker_us, topic, partition, "offset") AS number
    WHERE event_id IN (SELECT event_id FROM records GROUP BY event_id HAVING count(*) > 1)
)
WHERE number > 1;
CREATE VIEW events AS FROM records ANTI JOIN copies USING (topic, partition, "offset");
-- `scattered`: some events are not in the image's own partition, so that their order is not defined.
CREATE TABLE seen_images AS SELECT image_id, bool_or(NOT home) AS scattered FROM records GROUP BY image_id;
-- Events that count: by eligible actors. `idle_us`: time since the broker stored the previous one.
CREATE TABLE counted AS
SELECT image_id, kind, topic, "offset", time_us, broker_us, event_id,
       row_number() OVER in_order AS number, broker_us - lag(broker_us) OVER in_order AS idle_us
FROM events WHERE eligible
WINDOW in_order AS (PARTITION BY image_id, kind ORDER BY topic, partition, "offset");
-- `total`: events since `total_*` has last expired; `alive_from`: number of the first since a `1hr` set has.
CREATE TABLE activity AS
SELECT image_id, kind, count(*) AS events, max(time_us) AS newest_us, max_by(broker_us, number) AS last_broker_us,
       bool_or(broker_us - time_us <= late_after_us()) AS may_alert,
       count(*) + 1 - coalesce(max(number) FILTER (idle_us >= total_ttl_us()), 1) AS total,
       coalesce(max(number) FILTER (idle_us >= hour_us()), 1) AS alive_from
FROM counted GROUP BY image_id, kind;
CREATE TABLE row_events AS
SELECT kind, row_id, count(*) AS number FROM events WHERE row_id IS NOT NULL GROUP BY kind, row_id;
CREATE VIEW uploads AS
SELECT DISTINCT ON (image_id) *
FROM records JOIN (SELECT DISTINCT ON (event_id) * FROM upload_fields) USING (event_id) WHERE kind = 'upload'
ORDER BY image_id, broker_us, topic, partition, "offset";
-- Rows that are written together with an event.
CREATE VIEW platform_rows AS
SELECT *, false AS imported FROM actions
UNION ALL SELECT 'upload', image_id, image_id, created_us, source = 'import' FROM images;
"""

_OTHERS: Final = """
-- Records after the first of their request.
CREATE TABLE request_copies AS
SELECT partition, "offset"
FROM (
    FROM request_records SELECT partition, "offset",
        row_number() OVER (PARTITION BY request_id ORDER BY partition, "offset") AS number
    WHERE request_id IN (SELECT request_id FROM request_records GROUP BY request_id HAVING count(*) > 1)
)
WHERE number > 1;
CREATE VIEW requests AS FROM request_records ANTI JOIN request_copies USING (partition, "offset");
-- A table, because the planner must know that they are few: platforms of today write none.
CREATE TABLE requests_without_read_to AS
SELECT request_id, image_id, trigger FROM requests WHERE json_type(context, '$.read_to') IS NULL;
-- Members that the `1hr` sets must hold: the last hour of event time, as far as a set cannot have expired within.
CREATE TABLE hour_members AS
SELECT DISTINCT image_id, kind, member_of(kind, time_us, event_id) AS member,
       is_young(last_broker_us, hour_set_ttl_us()) AS young
FROM counted JOIN activity USING (image_id, kind)
WHERE kind != 'upload' AND number >= alive_from AND time_us > newest_us - hour_us();
-- Pictures of uploads that were interrupted a moment ago, so that they have no row: an API will remove them.
CREATE VIEW swept_soon AS
SELECT key FROM objects
WHERE stored_us > now_us() - swept_within_us() AND image_id NOT IN (SELECT image_id FROM images);
-- The records that `events` in Iceberg must hold.
CREATE VIEW due AS
SELECT records.* FROM records
JOIN spans USING (topic, partition) JOIN lake_offsets USING (topic, partition)
WHERE "offset" < least(next_offset, last_end);
-- Rows that the aggregated events must name, and those that they name: tables, because one query with both would not
-- fit into the memory. Views, the most of all events, name none.
CREATE TABLE due_rows AS
SELECT DISTINCT kind, row_id FROM due SEMI JOIN platform_rows USING (kind, row_id) WHERE row_id IS NOT NULL;
CREATE TABLE lake_rows AS SELECT DISTINCT kind, row_id FROM lake_events WHERE row_id IS NOT NULL;
-- The sums of each window table beside the distinct events that it must count.
CREATE TABLE lake_sums AS
WITH several AS MATERIALIZED (SELECT event_id FROM lake_events GROUP BY event_id HAVING count(*) > 1),
-- A group for each event with its kind and eligibility does not fit into the memory. Nearly all have one row.
distinct_rows AS (
    SELECT kind, eligible FROM lake_events ANTI JOIN several USING (event_id)
    UNION ALL
    SELECT kind, bool_and(eligible) FROM lake_events SEMI JOIN several USING (event_id) GROUP BY kind, event_id
),
found AS (
    SELECT kind, count(*) AS distinct_events, count(*) FILTER (eligible) AS distinct_eligible
    FROM distinct_rows GROUP BY kind
)
SELECT kind, name, list_position(['view', 'comment', 'flag'], kind) AS position, events IS NULL AS gone,
       coalesce(events, 0) AS events, coalesce(eligible, 0) AS eligible, repeated, is_current,
       coalesce(distinct_events, 0) AS distinct_events, coalesce(distinct_eligible, 0) AS distinct_eligible
FROM lake_windows LEFT JOIN found USING (kind);
"""

_MAY_ALERT: Final = """
SELECT image_id::VARCHAR, kind, time_us, broker_us, event_id::VARCHAR
FROM counted JOIN activity USING (image_id, kind)
WHERE may_alert AND events >= CASE kind WHEN 'view' THEN view_threshold() WHEN 'comment' THEN comment_threshold()
                              WHEN 'flag' THEN flag_threshold() END
  AND image_id NOT IN (SELECT image_id FROM seen_images WHERE scattered)
ORDER BY image_id, kind, number
"""
_UPLOADS: Final = """
SELECT image_id::VARCHAR, time_us, broker_us, event_id::VARCHAR FROM uploads JOIN seen_images USING (image_id)
WHERE eligible AND NOT scattered
"""
# Requests without `read_to`, with the events that may have caused them.
_MAY_BE_FOREIGN: Final = """
SELECT request_id::VARCHAR, requests.image_id::VARCHAR, trigger, seen_images.image_id IS NULL, event_id::VARCHAR
FROM requests_without_read_to AS requests LEFT JOIN seen_images USING (image_id) LEFT JOIN counted USING (image_id)
ORDER BY request_id
"""


def derive(tables: StoreTables, rules: TriggerSettings, now_us: int) -> None:
    """Derive facts from the loaded tables.

    Args:
        tables: tables with the content of all stores; `strict()` is defined.
        rules: thresholds of the consumer.
        now_us: beginning of the reading, microseconds since the epoch.
    """
    tables.define(now_us=now_us, **_CONSTANTS)
    ((erased_us,),) = tables.rows("SELECT coalesce(max(until_us), 0) FROM erasures")
    tables.define(erased_us=erased_us)
    ((truncated, start_us),) = tables.rows(_COVERAGE)
    tables.define(truncated=truncated, start_us=start_us)
    windows = enumerate(COUNTED_WINDOWS.items())
    tables.load("counts", ((name, window.kind, window.width_us, place) for place, (name, window) in windows))
    tables.load("window_triggers", ((rule.name,) for rule in rules.window_triggers()))
    tables.load("milestone_marks", ((views,) for views in MILESTONES))
    tables.run(_EVENTS)
    tables.run(_MACROS)
    tables.run(_OTHERS)
    _load_raised(tables, rules)
    _load_of_uploads(tables, rules, now_us)
    tables.load("foreign_requests", ((request_id,) for request_id in _foreign_requests(tables)))


def _load_raised(tables: StoreTables, rules: TriggerSettings) -> None:
    """Derive the required firings of the window rules."""
    least: dict[str, int] = {}
    for rule in rules.window_triggers():
        kind = COUNTED_WINDOWS[rule.count_name].kind
        least[f"{kind}_threshold"] = min(rule.threshold, least.get(f"{kind}_threshold", rule.threshold))
    tables.define(**least)
    tables.load(
        "raised",
        (
            (raised.request_id, raised.image_id, raised.trigger, raised.time_us, raised.broker_us, rule.sends_request)
            for rule, raised in all_raised(_image_events(tables), rules)
        ),
    )


def _image_events(tables: StoreTables) -> Iterator[ImageEvents]:
    for (image_id, kind), rows in groupby(tables.stream(_MAY_ALERT), itemgetter(0, 1)):
        yield ImageEvents(image_id, kind, [CountedEvent(*row[2:]) for row in rows])


def _load_of_uploads(tables: StoreTables, rules: TriggerSettings, now_us: int) -> None:
    """Derive the requests that uploads raise by the current setting, and those by an earlier one."""
    demanded = {anchor_trigger(minutes) for minutes in rules.rescore_at_minutes}
    if rules.trigger_on_upload:
        demanded.add(UPLOAD_TRIGGER)
    asked = {trigger for (trigger,) in tables.rows("SELECT DISTINCT trigger FROM request_records")}
    triggers = demanded | {trigger for trigger in asked if trigger == UPLOAD_TRIGGER or anchor_minutes(trigger)}

    def rows() -> Iterator[tuple[object, ...]]:
        for image_id, *event in tables.stream(_UPLOADS):
            for trigger in triggers:
                raised = of_upload(image_id, CountedEvent(*event), trigger)
                if raised:
                    # An anchor's request must exist a minute after its time.
                    due = trigger in demanded and raised.time_us <= now_us - _CONSTANTS["slack_us"]
                    yield raised.request_id, image_id, trigger, raised.time_us, due

    tables.load("of_uploads", rows() if triggers else ())


def _foreign_requests(tables: StoreTables) -> Iterator[str]:
    """Ids of requests from elsewhere than the stream consumer: no event of their image gives their id."""
    for (request_id, image_id, trigger, unknown), rows in groupby(
        tables.stream(_MAY_BE_FOREIGN), itemgetter(0, 1, 2, 3)
    ):
        causes = [None, *(event_id for *_, event_id in rows)]
        if unknown or all(request_uuid(image_id, trigger, cause) != request_id for cause in causes):
            yield request_id
