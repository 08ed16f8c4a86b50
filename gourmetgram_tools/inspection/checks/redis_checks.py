"""Checks of Redis: totals, windows and metadata are those that follow from the events."""

from typing import Final

from gourmetgram_tools.inspection.checks.check import CheckQuery

_TOTALS: Final = CheckQuery(
    "totals",
    "total_* = distinct events by eligible actors",
    numbers="""
    SELECT (SELECT sum(total) FROM activity WHERE kind != 'upload'), (SELECT sum(number) FROM redis_totals)
    """,
    differences="""
    WITH compared AS (
        SELECT image_id, 'image:' || image_id || ':total_' || kind || 's' AS key, number, total, last_broker_us
        FROM (FROM activity WHERE kind != 'upload') FULL JOIN redis_totals USING (image_id, kind)
    )
    SELECT sentence FROM (
        SELECT key, key || ' is missing; ' || total || ' events' AS sentence FROM compared
        WHERE number IS NULL AND is_young(last_broker_us, total_ttl_us())
        UNION ALL
        SELECT key, key || ' is ' || number || '; ' || total || ' events' FROM compared
        WHERE number < total OR (number > total AND is_complete(image_id))
        UNION ALL
        SELECT key, key || ' is ' || number || '; no events' FROM compared
        WHERE total IS NULL AND is_complete(image_id)
    ) ORDER BY key
    """,
)

# A missing set is no difference after its TTL.
_WINDOWS: Final = CheckQuery(
    "windows",
    "1hr windows hold just their hour's events",
    given="""
    WITH found AS (FROM redis_members WHERE width = '1hr'),
         sets AS (SELECT DISTINCT image_id, kind, true AS present FROM found),
         required AS (
            SELECT 'image:' || image_id || ':' || kind || 's:1hr' AS key, member, present IS NULL AS unset,
                   score_us IS NOT NULL AS held
            FROM hour_members LEFT JOIN sets USING (image_id, kind) LEFT JOIN found USING (image_id, kind, member)
            WHERE present OR young
         ),
         surplus AS (
            SELECT image_id, 'image:' || image_id || ':' || kind || 's:' || width AS key, member, score_us, time_us
            FROM redis_members LEFT JOIN (
                SELECT DISTINCT image_id, kind, member, time_us
                FROM counted JOIN redis_members USING (image_id, kind)
                WHERE member = member_of(kind, time_us, event_id)
            ) AS real USING (image_id, kind, member)
         )
    """,
    numbers="SELECT count(*), count(*) FILTER (held) FROM required",
    differences="""
    SELECT sentence FROM (
        SELECT 1 AS place, key, '' AS member, key || ' is missing; ' || count(*) || ' events in its hour' AS sentence
        FROM required WHERE unset GROUP BY key
        UNION ALL
        SELECT 1, key, member, key || ' lacks ' || member FROM required WHERE NOT unset AND NOT held
        UNION ALL
        SELECT 2, key, member, key || ' holds ' || member || ', which is no event of the image'
        FROM surplus WHERE time_us IS NULL AND is_complete(image_id)
        UNION ALL
        SELECT 2, key, member, key || ' holds ' || member || ' with the score of another time'
        FROM surplus WHERE score_us != time_us AND is_complete(image_id)
        UNION ALL
        SELECT 3, '', '', 'unreadable key ' || problem FROM redis_unreadable
    ) ORDER BY ALL
    """,
)

_METADATA: Final = CheckQuery(
    "metadata",
    "metadata is that of the upload event",
    given="""
    WITH wanted AS (FROM uploads WHERE eligible),
         hashes AS (
            SELECT image_id, max(content) FILTER (field = 'category') AS category,
                   max(content) FILTER (field = 'caption_length') AS caption_length,
                   max(content) FILTER (field = 'user_id') AS user_id,
                   max(content) FILTER (field = 'uploaded_at') AS uploaded_at
            FROM redis_metadata GROUP BY image_id
         ),
         both_known AS (
            SELECT image_id, time_us, uploaded_at, unnest([
                {'place': 1, 'name': 'category', 'found': hashes.category, 'wanted': wanted.category},
                {'place': 2, 'name': 'caption_length', 'found': hashes.caption_length, 'wanted': wanted.caption_length},
                {'place': 3, 'name': 'user_id', 'found': hashes.user_id, 'wanted': wanted.user_id}
            ]) AS field
            FROM wanted JOIN hashes USING (image_id)
         )
    """,
    numbers="SELECT (SELECT count(*) FROM wanted), (SELECT count(*) FROM hashes)",
    differences="""
    SELECT 'image:' || image_id || ':metadata ' || problem FROM (
        SELECT image_id, 0 AS place, 'is missing' AS problem
        FROM wanted ANTI JOIN hashes USING (image_id) WHERE is_young(broker_us, total_ttl_us())
        UNION ALL
        SELECT image_id, field.place, 'has ' || field.name || '=' || coalesce('''' || field.found || '''', 'None')
               || ' instead of ''' || field.wanted || ''''
        FROM both_known WHERE field.found IS DISTINCT FROM field.wanted
        UNION ALL
        SELECT image_id, 4, 'has another time in uploaded_at than the event'
        FROM wanted JOIN hashes USING (image_id)
        WHERE try_cast(round(try_cast(uploaded_at AS DOUBLE) * 1000000) AS BIGINT) IS DISTINCT FROM time_us
        UNION ALL
        SELECT image_id, 5, 'has no upload by an eligible user'
        FROM hashes ANTI JOIN wanted USING (image_id) WHERE is_complete(image_id)
    ) ORDER BY image_id, place
    """,
)

REDIS_CHECKS: Final = (_TOTALS, _WINDOWS, _METADATA)
