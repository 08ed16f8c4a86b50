"""Checks of Iceberg: the tables agree with Kafka and PostgreSQL, up to the offsets in the snapshot of `events`."""

from typing import Final

from gourmetgram_tools.inspection.checks.check import CheckQuery

# Each record or row with a fault; a missing or surplus one differs in `event_type`, too. Neighbours with the same fault
# become one sentence: surplus rows by their offsets, all others by their position among the records of the partition.
_FAULTS: Final = """
    WITH compared AS (
            SELECT topic, partition, "offset", due.kind IS NULL AS surplus, lake_events.topic IS NULL AS missing,
                   list_filter([
                       CASE WHEN due.event_id IS DISTINCT FROM lake_events.event_id THEN 'event_id' END,
                       CASE WHEN due.kind IS DISTINCT FROM lake_events.kind THEN 'event_type' END,
                       CASE WHEN due.image_id IS DISTINCT FROM lake_events.image_id THEN 'image_id' END,
                       CASE WHEN due.eligible IS DISTINCT FROM lake_events.eligible THEN 'actor_eligible' END,
                       CASE WHEN due.time_us IS DISTINCT FROM lake_events.time_us THEN 'event_time' END
                   ], lambda name: name IS NOT NULL) AS columns
            FROM due FULL JOIN lake_events USING (topic, partition, "offset") WHERE len(columns) > 0
         ),
         faults AS (
            SELECT topic, partition, "offset", 1 AS place, 'missing in event_aggregations.events' AS fault
            FROM compared WHERE missing
            UNION ALL
            SELECT topic, partition, "offset", 2, 'in event_aggregations.events more than once'
            FROM lake_events GROUP BY topic, partition, "offset" HAVING count(*) > 1
            UNION
            SELECT topic, partition, "offset", 3, 'in event_aggregations.events with another ' || unnest(columns)
            FROM compared WHERE NOT missing AND NOT surplus
            UNION
            SELECT topic, partition, "offset", 4,
                   'in event_aggregations.events, but no readable record below its offsets'
            FROM compared LEFT JOIN spans USING (topic, partition) WHERE surplus AND "offset" >= coalesce(first, 0)
         ),
         positions AS (
            SELECT topic, partition, "offset",
                   row_number() OVER (PARTITION BY topic, partition ORDER BY "offset") AS position
            FROM due SEMI JOIN faults USING (topic, partition)
         ),
         neighbours AS (
            SELECT faults.*, coalesce(position, "offset") - row_number() OVER (
                PARTITION BY topic, partition, place, fault ORDER BY "offset"
            ) AS island
            FROM faults LEFT JOIN positions USING (topic, partition, "offset")
         )
    SELECT place, fault, topic, partition, min("offset") AS first, topic || '/' || partition || '@' || first
           || CASE WHEN count(*) = 1 THEN ' is '
                   ELSE ' to @' || max("offset") || ', ' || count(*) || ' records, are ' END || fault AS sentence
    FROM neighbours GROUP BY topic, partition, place, fault, island
"""
_OFFSETS: Final = """
    SELECT 0, '', topic, partition, 0, CASE
        WHEN last_end IS NULL
        THEN 'event_aggregations.events has read ' || topic || '/' || partition || ' up to ' || next_offset
             || ', but Kafka has no such partition'
        WHEN next_offset > last_end
        THEN 'event_aggregations.events has read ' || topic || '/' || partition || ' up to ' || next_offset
             || ', but it ends at ' || last_end || ': the topic was recreated'
        ELSE 'Kafka has removed ' || topic || '/' || partition || '@' || next_offset || ' to @' || (first - 1)
             || ' before event_aggregations.events read it' END
    FROM lake_offsets LEFT JOIN spans USING (topic, partition)
    WHERE last_end IS NULL OR next_offset > last_end OR next_offset < first
"""
_EVENTS: Final = CheckQuery(
    "iceberg events",
    "events holds each readable record once",
    numbers="""
    SELECT (SELECT count(*) FROM due),
           (SELECT count(*) FROM lake_events JOIN spans USING (topic, partition) WHERE "offset" >= first)
    """,
    differences=f"SELECT sentence FROM ({_FAULTS} UNION ALL {_OFFSETS}) ORDER BY place, fault, topic, partition, first",  # noqa: S608
)

_WINDOWS: Final = CheckQuery(
    "iceberg windows",
    "sum of event_count = distinct events",
    numbers="SELECT sum(distinct_events), sum(events) FROM lake_sums",
    differences="""
    SELECT sentence FROM (
        SELECT 1 AS place, position, name || ' does not exist' AS sentence FROM lake_sums WHERE gone
        UNION ALL
        SELECT 1, position,
               name || ' is older than event_aggregations.events: task write_' || kind || '_windows has yet to run'
        FROM lake_sums WHERE NOT is_current
        UNION ALL
        SELECT 1, position, name || ' has ' || repeated || ' rows beyond the first of their image and window'
        FROM lake_sums WHERE repeated > 0
        UNION ALL
        SELECT 2, position, name || ': sum of event_count is ' || events || ', but there are ' || distinct_events
               || ' distinct events'
        FROM lake_sums WHERE events != distinct_events
    ) ORDER BY place, position
    """,
)

_ELIGIBLE: Final = CheckQuery(
    "iceberg eligible",
    "sum of eligible_count = those by eligible actors",
    numbers="SELECT sum(distinct_eligible), sum(eligible) FROM lake_sums",
    differences="""
    SELECT name || ': sum of eligible_count is ' || eligible || ', but there are ' || distinct_eligible
           || ' events by eligible actors'
    FROM lake_sums WHERE eligible != distinct_eligible ORDER BY position
    """,
)

_ROWS: Final = CheckQuery(
    "iceberg rows",
    "each aggregated event has its row, and back",
    numbers="SELECT (SELECT count(*) FROM due_rows), (SELECT count(*) FROM lake_rows)",
    differences="""
    SELECT sentence FROM (
        SELECT kind, 1 AS place, row_id, CASE kind WHEN 'upload' THEN 'image' ELSE kind END || ' ' || row_id
               || ' has no event in event_aggregations.events' AS sentence
        FROM due_rows ANTI JOIN lake_rows USING (kind, row_id)
        UNION ALL
        SELECT kind, 2, row_id, 'event_aggregations.events has an event of '
               || CASE kind WHEN 'upload' THEN 'image' ELSE kind END || ' ' || row_id || ', which has no row'
        FROM lake_rows ANTI JOIN platform_rows USING (kind, row_id)
    ) ORDER BY kind, place, row_id
    """,
)

# A flag sets the label. Changes of users and images after the extract do not appear in its rows.
_TRAINING: Final = CheckQuery(
    "training rows",
    "one row an image and anchor, all usable",
    numbers="SELECT count(DISTINCT (image_id, minutes)), count(*) FROM training",
    differences="""
    WITH anchors AS (
            SELECT image_id, min(anchor_us - minutes * 60000000) AS first_upload_us, max(anchor_us) AS last_anchor_us,
                   max(anchor_us - minutes * 60000000) AS last_upload_us
            FROM training GROUP BY image_id
         ),
         of_images AS (FROM anchors JOIN images USING (image_id))
    SELECT 'moderation.training_data has ' || problem FROM (
        SELECT 1 AS place, NULL AS image_id, 0 AS minutes,
               count(*) || ' rows, but its snapshot says ' || training_kept() AS problem
        FROM training HAVING training_kept() >= 0 AND count(*) != training_kept()
        UNION ALL
        SELECT 2, image_id, minutes, count(*) || ' rows of image ' || image_id || ' at ' || minutes || ' minutes'
        FROM training GROUP BY image_id, minutes HAVING count(*) > 1
        UNION ALL
        SELECT 3, image_id, minutes, 'a row of image ' || image_id || ' at ' || minutes || ' minutes whose '
               || 'first_flagged_at does not fit its label, or lies outside (anchor_time, label_observed_until]'
        FROM training WHERE NOT first_flag_fits
        UNION ALL
        SELECT 4, image_id, 1, 'a row of image ' || image_id || ' at an anchor after ' || complete_through()
               || ', up to where the events are complete'
        FROM anchors WHERE last_anchor_us > complete_through_us()
        UNION ALL
        SELECT 4, image_id, 2, 'rows of image ' || image_id || ', which has no row'
        FROM anchors ANTI JOIN images USING (image_id)
        UNION ALL
        SELECT 4, image_id, 3, 'anchors of image ' || image_id || ' that do not follow from its upload'
        FROM of_images WHERE first_upload_us != created_us OR last_upload_us != created_us
        UNION ALL
        SELECT 4, image_id, 4, 'rows of image ' || image_id || ', whose uploader is a test account or may be under 18 '
               || '(when that changed today, the next run of moderation_training removes them)'
        FROM of_images WHERE NOT eligible
        UNION ALL
        SELECT 4, image_id, 5, 'rows of image ' || image_id || ', which was deleted before they were made'
        FROM of_images WHERE deleted_us <= extracted_us()
    ) ORDER BY place, image_id, minutes
    """,
)

LAKEHOUSE_CHECKS: Final = (_EVENTS, _WINDOWS, _ELIGIBLE, _ROWS)
TRAINING_CHECKS: Final = (_TRAINING,)
