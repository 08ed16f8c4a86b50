# ruff: noqa: S608 - put together from constants only
"""Statements that write, each for a whole batch of requests (see gourmetgram.database.group_commit).

Each takes one array per column and returns per request: its number `n`, the transaction's id `xid`, the reason of a
refusal (`refusal`, NULL without one), `written` (true or false), and the row as the API answers it.

Each leaves the accepted requests in a table expression `new`, from which version 2 makes its events in the same
statement (`EventSql`).

Event times are the database's, taken inside the writing transaction and after every lock it had to wait for. They
differ within a batch by at least a microsecond, in the order of arrival: the newest is the clock's value, the others
lie just before it, none before the transaction's start. (A batch of 500 whose transaction is younger than half a
millisecond runs ahead of the clock by the missing part of that; its commit takes longer.)
"""

from typing import Final, NamedTuple

from gourmetgram.database.group_commit import Statement
from gourmetgram.database.row_locks import RowLocks
from gourmetgram.policy.eligibility import ACTOR_ELIGIBLE_SQL

_TIME: Final = """GREATEST(
            (SELECT clock_timestamp()) - count(*) OVER () * interval '1 microsecond',
            now()
        ) + row_number() OVER (ORDER BY n) * interval '1 microsecond'"""
_ELIGIBLE: Final = ACTOR_ELIGIBLE_SQL.format(event_time="u.created_at")
_XID: Final = "pg_current_xact_id()::text AS xid"


def _alive(table: str) -> str:
    """Condition for a row that is not deleted, in a form that no index on deleted_at serves.

    A plan made while tables are empty would walk that index, which holds every row that is not deleted, instead of
    looking up the id: 60 ms a flag with 8,000 comments, until PostgreSQL has new statistics.
    """
    return f"COALESCE({table}.deleted_at, 'infinity') = 'infinity'"


def _locked_images(strength: str) -> str:
    """Query for those of the images that another transaction has locked, against a lock of this strength."""
    return f"""
WITH wanted AS MATERIALIZED (SELECT id FROM images WHERE id = ANY($1::uuid[])),
free AS MATERIALIZED (
    SELECT id FROM images WHERE id = ANY($1::uuid[]) FOR {strength} SKIP LOCKED
)
SELECT id::text AS id FROM wanted WHERE NOT EXISTS (SELECT FROM free WHERE free.id = wanted.id)
"""


class EventSql(NamedTuple):
    """Table expressions that write events, one per kind of request; empty = no events.

    Each begins with a comma and may read `new`:

    - upload: n, id, user_id, s3_url, caption, category, created_at, actor_eligible
    - view: n, image_id, viewed_at
    - comment: n, id, image_id, user_id, content, created_at, actor_eligible
    - flag: n, id, user_id, comment_id, target_image_id, reason, created_at, actor_eligible
    """

    upload: str = ""
    view: str = ""
    comment: str = ""
    flag: str = ""


NO_EVENTS: Final = EventSql()


_ADD_USERS: Final = f"""
WITH wanted AS (
    SELECT *
    FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::text[], $5::integer[], $6::boolean[])
        WITH ORDINALITY AS w(username, tos_version, tos_accepted_at, country, year_of_birth, is_test_account, n)
),
new AS (
    INSERT INTO users (username, tos_version_accepted, tos_accepted_at, country_of_residence, year_of_birth,
                       is_test_account)
    SELECT username, tos_version, tos_accepted_at, country, year_of_birth, is_test_account
    FROM (SELECT DISTINCT ON (username) * FROM wanted ORDER BY username, n) AS first_ones
    ON CONFLICT (username) DO NOTHING
    RETURNING *
)
SELECT w.n, {_XID}, TRUE AS written, new.id::text AS id FROM wanted AS w JOIN new USING (username)
"""
ADD_USERS: Final = Statement(_ADD_USERS, "SELECT FROM users WHERE id = $1")
"""Insert users; a taken name changes nothing, and the caller reads the stored row afterwards."""


def add_images(events: EventSql) -> Statement:
    """Insert uploaded images. Columns: id, user_id, s3_url, caption, category.

    An image whose upload was given up is refused: its picture is removed, or about to be (orphan_sweeper.py).
    """
    sql = f"""
WITH wanted AS (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
        WITH ORDINALITY AS w(id, user_id, s3_url, caption, category, n)
),
judged AS MATERIALIZED (
    SELECT w.*, is_test_account, year_of_birth,
           CASE WHEN users.id IS NULL THEN 'no_user' WHEN a.image_id IS NOT NULL THEN 'abandoned' END AS refusal
    FROM wanted AS w
    LEFT JOIN users ON users.id = w.user_id
    LEFT JOIN abandoned_uploads AS a ON a.image_id = w.id
),
stamped AS (
    SELECT *, {_TIME} AS created_at FROM judged WHERE refusal IS NULL
),
new AS MATERIALIZED (
    SELECT u.*, {_ELIGIBLE} AS actor_eligible FROM stamped AS u
),
written AS (
    INSERT INTO images (id, user_id, s3_url, source, caption, category, created_at, views)
    SELECT id, user_id, s3_url, 'user_upload', caption, category, created_at, 0 FROM new ORDER BY n
){events.upload}
SELECT n, {_XID}, NULL AS refusal, TRUE AS written, id::text AS id, created_at FROM new
UNION ALL
SELECT n, {_XID}, refusal, FALSE, id::text, NULL FROM judged WHERE refusal IS NOT NULL
"""
    return Statement(sql, "SELECT FROM images WHERE id = $1")


def count_views(events: EventSql) -> Statement:
    """Add views to images. Columns: image_id. Returns each view's own total; nothing for an unknown image.

    Rows are locked in the order of their ids, so that the batches of two processes cannot lock each other out.
    """
    sql = f"""
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[]) WITH ORDINALITY AS w(image_id, n)
),
target AS MATERIALIZED (
    SELECT id FROM images WHERE id = ANY($1::uuid[]) AND {_alive("images")} ORDER BY id FOR NO KEY UPDATE
),
counted AS (
    UPDATE images SET views = COALESCE(images.views, 0) + added.number
    FROM (
        SELECT image_id, count(*) AS number FROM wanted JOIN target ON target.id = image_id GROUP BY image_id
    ) AS added
    WHERE images.id = added.image_id
    RETURNING images.id, images.views - added.number AS views_before
),
new AS MATERIALIZED (
    SELECT n, image_id, views_before + row_number() OVER (PARTITION BY image_id ORDER BY n) AS views,
           {_TIME} AS viewed_at
    FROM wanted JOIN counted ON counted.id = image_id
){events.view}
SELECT n, {_XID}, TRUE AS written, image_id::text AS id, views FROM new
"""
    # No proof: after a crash, a total may have grown by the views of another process.
    return Statement(sql, None, RowLocks(0, _locked_images("NO KEY UPDATE")))


def add_comments(events: EventSql) -> Statement:
    """Insert comments. Columns: image_id, user_id, content."""
    sql = f"""
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS w(image_id, user_id, content, n)
),
judged AS MATERIALIZED (
    SELECT w.*, is_test_account, year_of_birth,
           CASE WHEN users.id IS NULL THEN 'no_user' WHEN images.id IS NULL THEN 'no_image' END AS refusal
    FROM wanted AS w
    LEFT JOIN users ON users.id = w.user_id
    LEFT JOIN images ON images.id = w.image_id AND {_alive("images")}
),
stamped AS (
    SELECT *, gen_random_uuid() AS id, {_TIME} AS created_at FROM judged WHERE refusal IS NULL
),
new AS MATERIALIZED (
    SELECT u.*, {_ELIGIBLE} AS actor_eligible FROM stamped AS u
),
written AS (
    INSERT INTO comments (id, image_id, user_id, content, actor_eligible, created_at)
    SELECT id, image_id, user_id, content, actor_eligible, created_at FROM new ORDER BY n
){events.comment}
SELECT j.n, {_XID}, j.refusal, j.refusal IS NULL AS written, new.id::text AS id, new.created_at
FROM judged AS j LEFT JOIN new USING (n)
"""
    # The row's reference to its image takes this lock.
    return Statement(sql, "SELECT FROM comments WHERE id = $1", RowLocks(0, _locked_images("KEY SHARE")))


def add_flags(events: EventSql) -> Statement:
    """Insert flags. Columns: user_id, image_id, comment_id, reason; at least one of the two targets is given.

    A comment counts as a target while it is neither deleted nor hidden and its image is not deleted.
    """
    sql = f"""
WITH wanted AS (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
        WITH ORDINALITY AS w(user_id, image_id, comment_id, reason, n)
),
judged AS MATERIALIZED (
    SELECT w.*, is_test_account, year_of_birth, COALESCE(w.image_id, c.image_id) AS target_image_id,
           CASE
               WHEN users.id IS NULL THEN 'no_user'
               WHEN w.comment_id IS NOT NULL AND comment_image.id IS NULL THEN 'no_comment'
               WHEN w.image_id IS NOT NULL AND images.id IS NULL THEN 'no_image'
               WHEN w.image_id <> c.image_id THEN 'other_image'
           END AS refusal
    FROM wanted AS w
    LEFT JOIN users ON users.id = w.user_id
    LEFT JOIN comments AS c ON c.id = w.comment_id AND {_alive("c")} AND NOT c.moderator_hidden
    LEFT JOIN images AS comment_image ON comment_image.id = c.image_id AND {_alive("comment_image")}
    LEFT JOIN images ON images.id = w.image_id AND {_alive("images")}
),
stamped AS (
    SELECT *, gen_random_uuid() AS id, {_TIME} AS created_at FROM judged WHERE refusal IS NULL
),
new AS MATERIALIZED (
    SELECT u.*, {_ELIGIBLE} AS actor_eligible FROM stamped AS u
),
written AS (
    INSERT INTO flags (id, user_id, image_id, comment_id, reason, review_status, actor_eligible, created_at)
    SELECT id, user_id, image_id, comment_id, reason, 'pending', actor_eligible, created_at FROM new ORDER BY n
){events.flag}
SELECT j.n, {_XID}, j.refusal, j.refusal IS NULL AS written, new.id::text AS id, new.created_at
FROM judged AS j LEFT JOIN new USING (n)
"""
    return Statement(sql, "SELECT FROM flags WHERE id = $1", RowLocks(1, _locked_images("KEY SHARE")))
