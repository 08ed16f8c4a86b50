"""One definition of the features: online, offline and by plain counting, all 29 are equal. Equal means equal.

Hypothesis draws the histories; all of a run are then loaded and computed together, because a query a history would
take minutes. The plan of a history that differs is in the failure's text, ready to be added to `KNOWN`.
"""

import itertools
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import numpy as np
import psycopg2
import pyarrow as pa
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from psycopg2.extras import execute_values

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.events import ModerationRequest
from gourmetgram.features import offline
from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.features.matrix import FeatureMatrix, matrix_of_columns, matrix_of_vectors
from gourmetgram.features.online import online_vectors, read_image_facts, read_window_counts
from gourmetgram.lakehouse.engine import open_engine
from gourmetgram.lakehouse.parsing import parse_slowly
from gourmetgram.settings import PostgresSettings
from gourmetgram.training_data.extract import extract_to
from gourmetgram.training_data.inputs import load_event_rows, load_raw_rows, open_raw_files
from tests.support.brute_force import brute_force_vector, moment
from tests.support.histories import (
    EventPlan,
    FlagPlan,
    History,
    ImagePlan,
    Plan,
    Point,
    PointPlan,
    UserPlan,
    act_out,
    plans,
)

pytestmark = pytest.mark.servers

HISTORIES = 500

SECOND = 1_000_000
SOUP = ImagePlan(owner=0, created_us=0, deleted_us=None, category="Soup", caption="hot")
LOOKS = tuple(PointPlan(0, seconds * SECOND) for seconds in (0, 300, 1_800, 3_600))


def known(
    events: Sequence[EventPlan] = (), flags: Sequence[FlagPlan] = (), images: Sequence[ImagePlan] = (SOUP,)
) -> Plan:
    return Plan(0, (UserPlan(-SECOND), UserPlan(None)), tuple(images), (0,), tuple(flags), tuple(events), LOOKS)


def burst(kind: str, time_us: int, number: int = 40, copies: int = 1) -> list[EventPlan]:
    """Many events at the very same moment."""
    return [EventPlan(kind, 0, time_us, True, copies, clock, number) for clock in (0, 3, 5)]


KNOWN = {
    "nothing ever happens": known(),
    "bursts at both edges of both windows": known(
        [
            *burst("view", -3_300 * SECOND),
            *burst("view", -3_300 * SECOND + 1),
            *burst("comment", 0),
            *burst("comment", 1),
            *burst("flag", 300 * SECOND),
            *burst("flag", 300 * SECOND + 1),
        ]
    ),
    "every message arrives three times": known(burst("view", 299 * SECOND, copies=3)),
    "actors who do not count": known([plan._replace(eligible=False) for plan in burst("view", 100 * SECOND)]),
    "a flag on an image and on its own comment is one flag": known(flags=[FlagPlan(0, 0, 0, True, "rejected")]),
    "flags at the moment and a microsecond later": known(
        flags=[
            FlagPlan(0, None, 300 * SECOND, True, "pending"),
            FlagPlan(None, 0, 300 * SECOND + 1, True, "confirmed"),
            FlagPlan(None, 0, 299 * SECOND, False, "pending"),
        ]
    ),
    "images deleted at the moment, before it and before their upload": known(
        images=[
            SOUP,
            SOUP._replace(created_us=-SECOND, deleted_us=300 * SECOND),
            SOUP._replace(created_us=-SECOND, deleted_us=300 * SECOND + 1),
            SOUP._replace(created_us=-SECOND, deleted_us=-2 * SECOND),
            SOUP._replace(owner=1, created_us=-SECOND),
        ]
    ),
}


def draw_plans(number: int) -> list[Plan]:
    """Different plans each run; nothing is checked while drawing, so there is nothing to shrink."""
    drawn: list[Plan] = []

    @settings(
        max_examples=number,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(plan=plans())
    def collect(plan: Plan) -> None:
        drawn.append(plan)

    collect()
    return drawn


def test_online_offline_and_plain_counting_agree_on_all_29_features(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    offsets = itertools.count()
    histories = [act_out(plan, offsets) for plan in [*KNOWN.values(), *draw_plans(HISTORIES)]]
    store_rows(database_url, histories)
    points = [(history, point) for history in histories for point in history.points]

    by_counting = matrix_of_vectors([tuple(brute_force_vector(history, point)) for history, point in points])
    online = online_features(database_url, redis_url, histories, [point for _, point in points])
    by_point = offline_features(database_url, tmp_path, histories)

    assert len(histories) >= HISTORIES + len(KNOWN) - 1
    assert np.abs(by_counting).sum(axis=0).all(), "a feature that is always 0 would not be tested"
    for row, (history, point) in enumerate(points):
        assert not differences(online[row], by_counting[row]), (point, history.plan)
        assert not differences(by_point[point.point_id], by_counting[row]), (point, history.plan)


def differences(found: np.ndarray, expected: np.ndarray) -> dict[str, tuple[float, float]]:
    """Features that are not the same number, as (found, expected)."""
    return {name: (float(a), float(b)) for name, a, b in zip(FEATURE_NAMES, found, expected, strict=True) if a != b}


def online_features(
    database_url: str, redis_url: str, histories: Sequence[History], points: Sequence[Point]
) -> FeatureMatrix:
    """As the scorer computes them for requests that bring no counts."""
    requests = [ModerationRequest(point.point_id, point.image_id, "viral", point.time_us, {}) for point in points]
    engine = create_worker_engine(PostgresSettings(database_url=database_url), "parity")
    with redis.Redis.from_url(redis_url) as client, engine.connect() as connection:
        store_windows(client, histories)
        facts = [fact for fact in read_image_facts(connection, requests) if fact is not None]
        assert len(facts) == len(requests)
        parts = list(online_vectors(requests, facts, partial(read_window_counts, lambda _image: client)))
    engine.dispose()
    vectors = {n: vector for part in parts for n, vector in part}
    return matrix_of_vectors([vectors[n] for n in range(len(requests))])


def offline_features(database_url: str, folder: Path, histories: Sequence[History]) -> dict[str, np.ndarray]:
    """As the training DAG computes them, by point."""
    extract_to(database_url, folder)
    events = parse_slowly(record for history in histories for record in history.records)
    assert not events.bad
    moments = [point for history in histories for point in history.points]
    with open_engine() as engine:
        raw = load_raw_rows(engine, open_raw_files(folder))
        points = engine.load("points", offline.POINTS, pa.Table.from_pylist([point._asdict() for point in moments]))
        bronze = load_event_rows(engine, "events", events.rows)
        inputs = offline.feature_inputs(points, bronze, raw.users, raw.images, raw.flags)
        rows = engine.rows(offline.with_features(inputs))
    matrix = matrix_of_columns(tuple(rows[name].to_numpy() for name in FEATURE_NAMES))
    return dict(zip(rows["point_id"].to_pylist(), matrix, strict=True))


def store_rows(database_url: str, histories: Sequence[History]) -> None:
    """Write the rows; times as text in changing time zones."""
    users = [(key, key, stamp(at)) for history in histories for key, at in history.users.items()]
    images = [
        (image.image_id, image.user_id, stamp(image.created_us), stamp(image.deleted_us), image.category, image.caption)
        for history in histories
        for image in history.images
    ]
    comments = [
        (key, image_id, next(iter(history.users)))
        for history in histories
        for key, image_id in history.comments.items()
    ]
    flags = [
        (flag.flag_id, flag.user_id, flag.image_id, flag.comment_id, stamp(flag.created_us), flag.eligible, flag.status)
        for history in histories
        for flag in history.flags
    ]
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET timezone = 'Asia/Kathmandu'")
        for statement, rows in (
            ("INSERT INTO users (id, username, created_at) VALUES %s", users),
            ("INSERT INTO images (id, user_id, created_at, deleted_at, category, caption, s3_url) VALUES %s", images),
            ("INSERT INTO comments (id, image_id, user_id, content) VALUES %s", comments),
            (
                "INSERT INTO flags (id, user_id, image_id, comment_id, created_at, actor_eligible, review_status, "
                "reason) VALUES %s",
                flags,
            ),
        ):
            extra = {"images": ("s3://x",), "comments": ("yum",), "flags": ("spam",)}.get(statement.split()[2], ())
            execute_values(cursor, statement, [(*row, *extra) for row in rows], page_size=1_000)


def stamp(time_us: int | None) -> datetime | None:
    """The exact microsecond, told in yet another time zone."""
    return None if time_us is None else moment(time_us).astimezone(timezone(timedelta(hours=-3, minutes=-30)))


def store_windows(client: redis.Redis, histories: Sequence[History]) -> None:
    """Keep the events as the stream consumer's keys would, untrimmed, so that any moment can be looked at."""
    pipeline = client.pipeline(transaction=False)
    for history in histories:
        for event in history.events:
            if event.actor_eligible and event.kind != "upload":
                at = f"{event.time_us // SECOND}.{event.time_us % SECOND:06d}"
                member = f"{event.kind}:{at}:{event.event_id[:8]}"
                pipeline.zadd(f"image:{event.image_id}:{event.kind}s:1hr", {member: at})
    pipeline.execute()
