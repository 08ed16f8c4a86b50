"""Checks of rows, events and pictures: each row has its event, each image its picture, and back."""

from typing import Final

from gourmetgram_tools.inspection.checks.check import CheckQuery

_OUTBOX: Final = CheckQuery(
    "outbox",
    "every event has left the outbox",
    numbers="SELECT 0, count(*) FROM outbox",
    differences="SELECT 'event ' || event_id || ' waits in the outbox' FROM outbox ORDER BY sequence",
)


def _rows_and_events(name: str, kind: str, noun: str) -> CheckQuery:
    return CheckQuery(
        name,
        f"each {noun} has one {kind} event, and back",
        numbers="""
        SELECT count(*) FILTER (number IS NOT NULL OR must_have_events(image_id, created_us)),
               (SELECT sum(number) FROM row_events WHERE kind = $kind)
        FROM platform_rows LEFT JOIN row_events USING (kind, row_id)
        WHERE kind = $kind AND NOT imported
        """,
        differences="""
        WITH wanted AS (FROM platform_rows WHERE kind = $kind AND NOT imported),
             found AS (FROM row_events WHERE kind = $kind)
        SELECT sentence FROM (
            SELECT 1 AS place, row_id, $noun || ' ' || row_id || ' has no ' || $kind || ' event' AS sentence
            FROM wanted ANTI JOIN found USING (row_id) WHERE must_have_events(image_id, created_us)
            UNION ALL
            SELECT 2, row_id, $kind || ' event of ' || $noun || ' ' || row_id || ', which has no row'
            FROM found ANTI JOIN wanted USING (row_id)
            UNION ALL
            SELECT 3, row_id, $noun || ' ' || row_id || ' has ' || number || ' different ' || $kind || ' events'
            FROM found SEMI JOIN wanted USING (row_id) WHERE number > 1
        ) ORDER BY place, row_id
        """,
        parameters={"kind": kind, "noun": noun},
    )


# Simulated views change no counter, and an image from API v1 may have views without events.
_VIEWS: Final = CheckQuery(
    "views",
    "images.views = distinct API view events",
    given="""
    WITH found AS (SELECT image_id, count(*) AS events FROM events WHERE kind = 'view' AND NOT by_hand GROUP BY ALL),
         compared AS (
            SELECT image_id, views, coalesce(events, 0) AS events, must_have_events(image_id, created_us) AS exact
            FROM images LEFT JOIN found USING (image_id)
         )
    """,
    numbers="SELECT sum(CASE WHEN exact THEN views ELSE least(views, events) END), sum(events) FROM compared",
    differences="""
    SELECT 'image ' || image_id || ' has views=' || views || ', but ' || events || ' view events' FROM compared
    WHERE views < events OR (exact AND views != events) ORDER BY image_id
    """,
)

_KNOWN_IMAGES: Final = CheckQuery(
    "known images",
    "every event is about an image that has a row",
    numbers="SELECT count(*), count(*) FILTER (image_id IN (SELECT image_id FROM images)) FROM seen_images",
    differences="""
    SELECT 'events of image ' || image_id || ', which has no row'
    FROM seen_images ANTI JOIN images USING (image_id) ORDER BY image_id
    """,
)

# Check co-partitioning, on which the order of an image's events depends.
_PARTITIONS: Final = CheckQuery(
    "partitions",
    "an image has one partition, in every topic",
    numbers="SELECT count(*), count(*) FILTER (home) FROM records WHERE keyed",
    differences="""
    SELECT 'record ' || topic || '/' || partition || '@' || "offset" || ' is not in the partition of its key'
    FROM records WHERE keyed AND NOT home ORDER BY topic, partition, "offset"
    """,
)

# Compare dead letters, except those of records that retention has removed, and those that an erasure may have removed.
_BAD_MESSAGES: Final = CheckQuery(
    "bad messages",
    "each unreadable event has a dead letter",
    given="""
    WITH bad AS (SELECT DISTINCT topic, partition, "offset", broker_us FROM bad_records SEMI JOIN spans USING (topic)),
         required AS (FROM bad WHERE broker_us >= erased_us()),
         letters AS (
            SELECT DISTINCT dead_letters.topic, dead_letters.partition, "offset"
            FROM dead_letters LEFT JOIN spans USING (topic, partition)
            WHERE consumer_group = consumer_group() AND dead_letters.topic IN (SELECT topic FROM spans)
              AND "offset" >= coalesce(first, 0)
         )
    """,
    numbers="""
    SELECT (SELECT count(*) FROM required),
           (SELECT count(*) FROM letters ANTI JOIN (FROM bad ANTI JOIN required USING (topic, partition, "offset"))
            USING (topic, partition, "offset"))
    """,
    differences="""
    SELECT topic || '/' || partition || '@' || "offset" || problem FROM (
        SELECT topic, partition, "offset", ' cannot be read and has no dead letter' AS problem
        FROM required ANTI JOIN letters USING (topic, partition, "offset")
        UNION ALL
        SELECT *, ' has a dead letter, but can be read' FROM letters ANTI JOIN bad USING (topic, partition, "offset")
    ) ORDER BY problem, topic, partition, "offset"
    """,
)

_PICTURES: Final = CheckQuery(
    "pictures",
    "each image has its object, and back",
    given="""
    WITH owners AS (
            SELECT picture_key AS key, max(image_id) AS image_id FROM images WHERE picture_key IS NOT NULL GROUP BY ALL
         ),
         stored AS (SELECT key FROM objects ANTI JOIN swept_soon USING (key))
    """,
    numbers="SELECT (SELECT count(*) FROM owners), (SELECT count(*) FROM stored)",
    differences="""
    SELECT sentence FROM (
        SELECT 1 AS place, key, 'image ' || image_id || ': its object ' || key || ' is missing' AS sentence
        FROM owners ANTI JOIN stored USING (key)
        UNION ALL
        SELECT 2, key, 'object ' || key || ' belongs to no image' FROM stored ANTI JOIN owners USING (key)
    ) ORDER BY place, key
    """,
)

EVENT_CHECKS: Final = (
    _OUTBOX,
    _rows_and_events("uploads", "upload", "image"),
    _rows_and_events("comments", "comment", "comment"),
    _rows_and_events("flags", "flag", "flag"),
    _VIEWS,
    _KNOWN_IMAGES,
    _PARTITIONS,
    _BAD_MESSAGES,
    _PICTURES,
)
