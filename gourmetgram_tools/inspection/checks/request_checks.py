"""Checks of requests, alerts, milestones and decisions: exactly those that follow from the events by the rules."""

from typing import Final

from gourmetgram_tools.inspection.checks.check import CheckQuery

# A correct upload or anchor request may come from an earlier setting, or have just become due.
_REQUESTS: Final = CheckQuery(
    "requests",
    "requests are those the rules demand",
    given="""
    WITH demanded AS (
            SELECT request_id, image_id, trigger, time_us FROM raised WHERE sends_request AND is_complete(image_id)
            UNION ALL
            SELECT request_id, image_id, trigger, time_us FROM of_uploads WHERE demanded AND is_complete(image_id)
         ),
         seen AS (FROM requests WHERE is_comparable(image_id)),
         surplus AS (
            FROM seen ANTI JOIN demanded USING (request_id) ANTI JOIN of_uploads USING (request_id, time_us)
            ANTI JOIN foreign_requests USING (request_id)
         )
    """,
    numbers="""
    SELECT (SELECT count(*) FROM demanded),
           (SELECT count(*) FROM demanded SEMI JOIN seen USING (request_id)) + (SELECT count(*) FROM surplus)
    """,
    differences="""
    SELECT 'request ' || request_id || ' (' || trigger || ' of image ' || image_id || ') ' || problem FROM (
        SELECT 1 AS place, request_id, trigger, image_id, demanded.time_us, 'is missing' AS problem
        FROM demanded ANTI JOIN seen USING (request_id)
        UNION ALL
        SELECT 1, request_id, demanded.trigger, demanded.image_id, demanded.time_us, 'is for another time'
        FROM demanded JOIN seen USING (request_id) WHERE demanded.time_us != seen.time_us
        UNION ALL
        SELECT 2, request_id, trigger, image_id, time_us, 'follows from no event' FROM surplus
    ) ORDER BY place, image_id, time_us, request_id
    """,
)

# Counts of a context: events below `read_to`, in (t - width, t]; 0 for a topic that `read_to` does not name.
_CONTEXTS: Final = CheckQuery(
    "contexts",
    "requests carry the counts of what they read",
    given="""
    WITH checked AS (
            FROM requests SEMI JOIN seen_images USING (image_id)
            WHERE json_type(context, '$.read_to') = 'OBJECT' AND is_comparable(image_id)
         ),
         offsets AS (
            SELECT request_id, image_id, requests.time_us, topic,
                   coalesce(try_cast(context ->> ('/read_to/' || topic) AS BIGINT), 0) AS read_to
            FROM checked AS requests CROSS JOIN (SELECT DISTINCT topic FROM counted)
         ),
         events_counted AS (
            SELECT request_id, name, count(*) AS number
            FROM offsets JOIN counted USING (image_id, topic) JOIN counts USING (kind)
            WHERE counted.time_us > offsets.time_us - width_us AND counted.time_us <= offsets.time_us
              AND "offset" < read_to
            GROUP BY request_id, name
         ),
         compared AS (
            SELECT request_id, image_id, name, position, coalesce(number, 0) AS number,
                   context ->> ('/' || name) AS claimed, json_type(context, '/' || name) AS type
            FROM checked CROSS JOIN counts LEFT JOIN events_counted USING (request_id, name)
         ),
         wrong AS (
            SELECT request_id, image_id, string_agg(
                name || '=' || coalesce(claimed, 'None') || ' instead of ' || number, ', ' ORDER BY position
            ) AS counts
            FROM compared WHERE try_cast(claimed AS DOUBLE) IS DISTINCT FROM number OR type = 'VARCHAR'
            GROUP BY request_id, image_id
         )
    """,
    numbers="SELECT (SELECT count(*) FROM checked), (SELECT count(*) FROM checked ANTI JOIN wrong USING (request_id))",
    differences="""
    SELECT 'request ' || request_id || ' of image ' || image_id || ': ' || counts FROM wrong ORDER BY request_id
    """,
)

_COPIES: Final = CheckQuery(
    "request copies",
    "a repeated request is the same",
    given="""
    WITH differing AS (
        SELECT request_id FROM request_records AS again JOIN requests AS first USING (request_id)
        WHERE (again.image_id, again.trigger, again.time_us, again.context)
              != (first.image_id, first.trigger, first.time_us, first.context)
    )
    """,
    numbers="""
    SELECT number, number - (SELECT count(*) FROM differing)
    FROM (SELECT count(*) - count(DISTINCT request_id) AS number FROM request_records)
    """,
    differences="""
    SELECT 'request ' || request_id || ' was sent again with another content' FROM differing ORDER BY request_id
    """,
)

_ALERTS: Final = CheckQuery(
    "alerts",
    "alert keys hold the time of the last alert",
    given="""
    WITH last AS (
            SELECT image_id, trigger, max(time_us) AS t, max_by(broker_us, time_us) AS broker_us
            FROM raised GROUP BY image_id, trigger
         ),
         found AS (FROM redis_alerts SEMI JOIN window_triggers USING (trigger))
    """,
    numbers="""
    SELECT greatest((SELECT count(*) FROM last WHERE is_young(broker_us, cool_down_us())),
                    (SELECT count(*) FROM found SEMI JOIN last USING (image_id, trigger))),
           (SELECT count(*) FROM found)
    """,
    differences="""
    SELECT 'image:' || image_id || ':alert:' || trigger || problem FROM (
        SELECT image_id, trigger, ' is missing' AS problem FROM last ANTI JOIN found USING (image_id, trigger)
        WHERE is_young(broker_us, cool_down_us()) AND is_complete(image_id)
        UNION ALL
        SELECT image_id, trigger, printf(' is %.6f instead of %.6f', time_us / 1e6, t / 1e6)
        FROM last JOIN found USING (image_id, trigger) WHERE time_us != t AND is_complete(image_id)
        UNION ALL
        SELECT image_id, trigger, ' follows from no event' FROM found ANTI JOIN last USING (image_id, trigger)
        WHERE is_comparable(image_id)
    ) ORDER BY image_id, trigger, problem
    """,
)

# The counter restarts after its expiry, so the longest run of views counts.
_MILESTONES: Final = CheckQuery(
    "milestones",
    "10th, 100th, 1000th view of each image",
    given="""
    WITH starts AS (
            SELECT image_id, number FROM counted
            WHERE kind = 'view' AND (idle_us IS NULL OR idle_us >= total_ttl_us())
         ),
         runs AS (
            SELECT image_id, lead(number, 1, events + 1) OVER (PARTITION BY image_id ORDER BY number) - number AS views
            FROM starts JOIN (FROM activity WHERE kind = 'view') USING (image_id)
         ),
         reached AS (
            SELECT DISTINCT image_id, milestone FROM runs CROSS JOIN milestone_marks
            WHERE views >= milestone AND image_id IN (SELECT image_id FROM images) AND is_complete(image_id)
         ),
         found AS (SELECT DISTINCT * FROM milestones WHERE is_complete(image_id))
    """,
    numbers="SELECT (SELECT count(*) FROM reached), (SELECT count(*) FROM found)",
    differences="""
    SELECT 'milestone ' || milestone || ' of image ' || image_id || problem FROM (
        SELECT *, ' is missing' AS problem FROM reached ANTI JOIN found USING (image_id, milestone)
        UNION ALL
        SELECT *, ' was not reached' FROM found ANTI JOIN reached USING (image_id, milestone)
    ) ORDER BY problem, image_id, milestone
    """,
)

# A request needs no decision after a dead letter, or when its image was deleted at or before its time. The dead letter
# of an unknown image may be gone by an erasure.
_DECISIONS: Final = CheckQuery(
    "decisions",
    "one decision per request (or a reason)",
    given="""
    WITH exempt AS (
            SELECT request_id FROM requests JOIN images USING (image_id) WHERE deleted_us <= time_us
            UNION
            SELECT request_id FROM request_records
            SEMI JOIN (FROM dead_letters WHERE topic = moderation_topic()) USING (partition, "offset")
            UNION
            SELECT request_id FROM requests ANTI JOIN images USING (image_id) WHERE time_us < erased_us()
         ),
         required AS (FROM requests ANTI JOIN exempt USING (request_id)),
         answered AS (FROM decisions WHERE request_id IS NOT NULL)
    """,
    numbers="""
    SELECT (SELECT count(*) FROM required), (SELECT count(*) FROM answered ANTI JOIN exempt USING (request_id))
    """,
    differences="""
    SELECT sentence FROM (
        SELECT 1 AS place, request_id, 'request ' || request_id || ' (' || trigger || ' of image ' || image_id
               || ') has no decision' AS sentence
        FROM required ANTI JOIN answered USING (request_id)
        UNION ALL
        -- Kafka's retention removes requests, the row stays.
        SELECT 2, request_id,
               'decision on image ' || target_id || ' answers request ' || request_id || ', which is not in Kafka'
        FROM answered ANTI JOIN requests USING (request_id) WHERE is_complete(target_id)
    ) ORDER BY place, request_id
    """,
)

_DECIDED_AS_ASKED: Final = CheckQuery(
    "decided as asked",
    "decided on the request's trigger and counts",
    given="""
    WITH answered AS (
            SELECT request_id, image_id, target_id, requests.trigger AS asked, decisions.trigger AS decided, has_counts,
                   context, decisions.counts AS stored
            FROM decisions JOIN requests USING (request_id)
         ),
         problems AS (
            SELECT request_id, -2 AS position, 'image ' || target_id || ' instead of ' || image_id AS problem
            FROM answered WHERE target_id != image_id
            UNION ALL
            SELECT request_id, -1, 'trigger ' || coalesce(decided, 'None') || ' instead of ' || asked
            FROM answered WHERE decided IS DISTINCT FROM asked
            UNION ALL
            SELECT request_id, position,
                   name || '=' || coalesce((stored ->> ('/' || name))::DOUBLE::VARCHAR, 'None') || ' instead of '
                   || (context ->> ('/' || name))
            FROM answered CROSS JOIN counts
            WHERE has_counts AND name != 'comments_1min'
              AND (stored ->> ('/' || name))::DOUBLE IS DISTINCT FROM (context ->> ('/' || name))::DOUBLE
         )
    """,
    numbers="SELECT count(*), count(*) FILTER (request_id NOT IN (SELECT request_id FROM problems)) FROM answered",
    differences="""
    SELECT 'decision on request ' || request_id || ': ' || string_agg(problem, ', ' ORDER BY position) FROM problems
    GROUP BY request_id ORDER BY request_id
    """,
)

_BAD_REQUESTS: Final = CheckQuery(
    "bad requests",
    "each unreadable request has a dead letter",
    given="""
    WITH bad AS (
        SELECT DISTINCT topic, partition, "offset" FROM bad_records
        WHERE topic = moderation_topic() AND broker_us >= erased_us()
    )
    """,
    numbers="""
    SELECT (SELECT count(*) FROM bad),
           (SELECT count(*) FROM bad SEMI JOIN dead_letters USING (topic, partition, "offset"))
    """,
    differences="""
    SELECT topic || '/' || partition || '@' || "offset" || ' has no dead letter'
    FROM bad ANTI JOIN dead_letters USING (topic, partition, "offset") ORDER BY topic, partition, "offset"
    """,
)

REQUEST_CHECKS: Final = (
    *(_REQUESTS, _CONTEXTS, _COPIES, _ALERTS, _MILESTONES),
    *(_DECISIONS, _DECIDED_AS_ASKED, _BAD_REQUESTS),
)
