"""Online features: window counts from the request or from Redis, everything else from PostgreSQL.

All values are as of the request's own time t, so an image scored at once and an hour later gets the same score.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import orjson
from redis import Redis
from redis.client import Pipeline
from sqlalchemy import Connection, text

from gourmetgram.events import ModerationRequest
from gourmetgram.features.definition import FeatureInputs, FeatureVector, category_name, feature_vector
from gourmetgram.moments import from_us
from gourmetgram.redis_keys import longest_window, window_bounds
from gourmetgram.windows import COUNT_NAMES, COUNTED_WINDOWS

ImageCounts = Mapping[str, int]
"""Counts by the names of `COUNT_NAMES`."""

CountReader = Callable[[Sequence[ModerationRequest]], Sequence[ImageCounts] | None]
"""Returns the counts of each request, or None while their store is away."""


class ImageFacts(NamedTuple):
    """Facts of PostgreSQL about an image as of t (times in microseconds since the epoch).

    Attributes:
        total_flags: flags by eligible actors up to t on the image or on its comments, reviewed or not.
        user_image_count: the uploader's images uploaded at or before t and not deleted at t.
        deleted_us: time of the deletion; None while the image exists.
    """

    upload_us: int
    deleted_us: int | None
    user_created_us: int
    caption_length: int
    category: str
    total_flags: int
    user_image_count: int


# One statement for a whole batch: each subquery is an index scan per image. A flag that names the image and one of its
# comments counts once. A row without an upload time (written by hand) does not count as an image.
_FACTS_SQL: Final = text("""
SELECT
    p.n,
    (extract(epoch FROM i.created_at) * 1000000)::bigint,
    (extract(epoch FROM i.deleted_at) * 1000000)::bigint,
    (extract(epoch FROM COALESCE(u.created_at, p.t)) * 1000000)::bigint,
    COALESCE(char_length(i.caption), 0),
    i.category,
    (
        SELECT count(*) FROM flags f
        WHERE f.image_id = i.id AND f.actor_eligible AND f.created_at <= p.t
    ) + (
        SELECT count(*) FROM comments c JOIN flags f ON f.comment_id = c.id
        WHERE c.image_id = i.id AND f.image_id IS DISTINCT FROM i.id AND f.actor_eligible AND f.created_at <= p.t
    ),
    (
        SELECT count(*) FROM images o
        WHERE o.user_id = i.user_id AND o.created_at <= p.t AND (o.deleted_at IS NULL OR o.deleted_at > p.t)
    )
FROM json_to_recordset(CAST(:points AS json)) AS p(n int, image_id uuid, t timestamptz)
JOIN images i ON i.id = p.image_id
JOIN users u ON u.id = i.user_id
WHERE i.created_at IS NOT NULL
""")


def read_image_facts(connection: Connection, requests: Sequence[ModerationRequest]) -> list[ImageFacts | None]:
    """Read the facts of PostgreSQL about each request's image as of the request's time.

    Returns:
        One entry per request, in order; None where no such image exists.
    """
    points = [
        {"n": n, "image_id": request.image_id, "t": from_us(request.time_us).isoformat()}
        for n, request in enumerate(requests)
    ]
    facts: list[ImageFacts | None] = [None] * len(requests)
    for n, upload_us, deleted_us, user_created_us, caption_length, category, *numbers in connection.execute(
        _FACTS_SQL, {"points": orjson.dumps(points).decode()}
    ):
        facts[n] = ImageFacts(upload_us, deleted_us, user_created_us, caption_length, category_name(category), *numbers)
    return facts


def read_window_counts(server_of: Callable[[str], Redis], requests: Sequence[ModerationRequest]) -> list[ImageCounts]:
    """Read the counts of each request's windows (t - width, t] from Redis, in one round trip a server.

    Args:
        server_of: returns the client of the server that holds an image.
        requests: the requests.

    Returns:
        One entry per request, in order, with all of `COUNT_NAMES`.

    Raises:
        RedisError: Redis did not answer.
    """
    pipelines: dict[Redis, Pipeline] = {}
    counts: list[ImageCounts] = []
    for request in requests:
        client = server_of(request.image_id)
        pipeline = pipelines.setdefault(client, client.pipeline(transaction=False))
        for counted in COUNTED_WINDOWS.values():
            bounds = window_bounds(request.time_us, counted.width_us)
            pipeline.zcount(longest_window(request.image_id, counted.kind), *bounds)
    answers = {client: iter(pipeline.execute()) for client, pipeline in pipelines.items()}
    for request in requests:
        own = answers[server_of(request.image_id)]
        counts.append({name: next(own) for name in COUNT_NAMES})
    return counts


def online_vectors(
    requests: Sequence[ModerationRequest], facts: Sequence[ImageFacts], read_counts: CountReader
) -> Iterator[list[tuple[int, FeatureVector]]]:
    """Compute the 29 features of each request's image as of the request's time, in two parts.

    The first part holds the requests whose context has all counts. `read_counts` is called after it, for the others:
    while Redis is away, a caller loses the second part alone.

    Args:
        requests: requests whose image exists.
        facts: facts of each request's image.
        read_counts: reads window counts from Redis; see `CountReader`.

    Yields:
        Parts of the result: pairs of a request's index in `requests` and its vector.
    """
    in_context = [request.counts() for request in requests]
    yield [(n, _vector(requests[n], facts[n], counts)) for n, counts in enumerate(in_context) if counts is not None]
    lacking = [n for n, counts in enumerate(in_context) if counts is None]
    answers = read_counts([requests[n] for n in lacking]) if lacking else None
    if answers is not None:
        yield [(n, _vector(requests[n], facts[n], counts)) for n, counts in zip(lacking, answers, strict=True)]


def _vector(request: ModerationRequest, facts: ImageFacts, counts: ImageCounts) -> FeatureVector:
    return feature_vector(
        FeatureInputs(
            upload_us=facts.upload_us,
            time_us=request.time_us,
            views_5min=counts["views_5min"],
            views_1hr=counts["views_1hr"],
            comments_5min=counts["comments_5min"],
            comments_1hr=counts["comments_1hr"],
            flags_5min=counts["flags_5min"],
            flags_1hr=counts["flags_1hr"],
            total_flags=facts.total_flags,
            caption_length=facts.caption_length,
            user_image_count=facts.user_image_count,
            user_created_us=facts.user_created_us,
            category=facts.category,
        )
    )
