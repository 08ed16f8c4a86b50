"""Train/serve skew: every vector that the scorer stored, computed again offline from the event history.

A request carries its time t and the offsets of its counts (`read_to`). So the offline computation uses exactly the same
records, and equal means identical float32 numbers.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from ibis import ir
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from sqlalchemy import text

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import PermanentError
from gourmetgram.events import ModerationRequest
from gourmetgram.features import offline
from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.features.matrix import FeatureMatrix, matrix_of_columns
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.filters import between
from gourmetgram.lakehouse.progress import Offsets, events_progress
from gourmetgram.moments import HOUR_US
from gourmetgram.settings import KafkaSettings, OfflineSettings, PostgresSettings
from gourmetgram.training_data.extract import extract_to
from gourmetgram.training_data.inputs import (
    EventHistory,
    RawRows,
    load_events,
    load_raw_rows,
    open_event_history,
    open_raw_files,
)
from gourmetgram_tools.inspection.kafka_reading import read, reader
from gourmetgram_tools.inspection.kafka_records import load_requests
from gourmetgram_tools.inspection.tables import StoreTables, open_tables

# Features of window counts, which are undefined for a request without counts.
WINDOW_FEATURES: Final = (
    "views_5min",
    "views_1hr",
    "comments_5min",
    "comments_1hr",
    "flags_5min",
    "flags_1hr",
    "view_velocity_per_min",
    "comment_to_view_ratio",
    "recent_engagement_score",
)
_IS_WINDOW_FEATURE: Final = np.isin(FEATURE_NAMES, WINDOW_FEATURES)

# Reasons for which a stored vector is not compared.
REQUEST_GONE: Final = "its request is no longer in Kafka"
NOT_AGGREGATED: Final = "the event history does not reach that far yet"
IMAGE_GONE: Final = "its image has no row any more"
ROWS_ERASED: Final = "an erasure removed rows after it"

# Reasons for which only features without window counts are compared.
NO_CONTEXT: Final = "its request came without counts"
UNKEYED_EVENTS: Final = "its image has events outside its partition"

MAX_EXAMPLES: Final = 100

BATCH_VECTORS: Final = 20_000
"""Number of vectors that are compared at a time."""

_ROWS: Final = 5_000

_VECTORS_SQL: Final = text("""
SELECT inference_request_id::text, features,
       created_at <= COALESCE((SELECT max(COALESCE(completed_at, now())) FROM erasures), '-infinity')
FROM moderation WHERE target_type = 'image' AND inference_request_id IS NOT NULL AND features IS NOT NULL
""")
# A request's key is its image, so its partition number is that of the image's events.
_SCORED: Final = """
CREATE VIEW scored AS
SELECT request_id::VARCHAR, image_id::VARCHAR, trigger, time_us, context, partition, features
FROM (SELECT DISTINCT ON (request_id) * FROM request_records ORDER BY request_id, partition, "offset")
JOIN vectors USING (request_id) WHERE NOT erased
"""


class Difference(NamedTuple):
    """A feature of a decision with another number offline."""

    request_id: str
    image_id: str
    feature: str
    stored: float
    offline: float


@dataclass
class SkewResult:
    """Result of the comparison.

    Attributes:
        vectors: number of stored vectors.
        compared: number of vectors that were compared, in full or in part.
        in_part: number of those compared without window features, by reason.
        skipped: number of vectors that were not compared, by reason.
        by_feature: number of differences by feature.
        examples: the first differences.
        most_examples: most examples to list.
    """

    vectors: int
    compared: int = 0
    in_part: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    by_feature: Counter[str] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)
    most_examples: int = MAX_EXAMPLES

    @property
    def differences(self) -> int:
        """Number of values that differ."""
        return self.by_feature.total()

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return {
            "ok": self.differences == 0,
            "differences": self.differences,
            "vectors": self.vectors,
            "compared": self.compared,
            "in_part": dict(self.in_part),
            "skipped": dict(self.skipped),
            "by_feature": dict(self.by_feature),
            "examples": [example._asdict() for example in self.examples],
        }


class _Scored(NamedTuple):
    """A stored vector (29 float32) with its request and the partition number of the image."""

    request: ModerationRequest
    partition: int
    vector: NDArray[np.float32]

    @property
    def read_to(self) -> Mapping[str, int] | None:
        """Next offset by topic; None unless the request has counts and `read_to`."""
        found = self.request.context.get("read_to")
        usable = isinstance(found, dict) and found and all(type(offset) is int for offset in found.values())
        return found if usable and self.request.counts() is not None else None


def measure_skew(
    postgres: PostgresSettings,
    kafka: KafkaSettings,
    catalog: Catalog,
    report: Callable[[str], None] = lambda _text: None,
    most_examples: int = MAX_EXAMPLES,
    offline_settings: OfflineSettings | None = None,
) -> SkewResult:
    """Compare every stored vector with its offline computation.

    Args:
        postgres: application database, with decisions and rows.
        kafka: broker, with the requests.
        catalog: catalog of the event history.
        report: receives the current step, for display.
        most_examples: most differences to list.
        offline_settings: names the engine; None = DuckDB.

    Raises:
        PermanentError: there are vectors, but no event history.
        TransientError: a store is away.
    """
    report("reading decisions and requests")
    with open_tables() as tables:
        result = SkewResult(vectors=_load_vectors(tables, postgres), most_examples=most_examples)
        ((erased,),) = tables.rows("SELECT count(*) FROM vectors WHERE erased")
        _skip(result, ROWS_ERASED, erased)
        if erased < result.vectors:
            with reader(kafka) as consumer:
                load_requests(tables, read(consumer, held_ranges(consumer, [kafka.moderation_topic])))
            tables.run(_SCORED)
            ((found,),) = tables.rows("SELECT count(*) FROM scored")
            _skip(result, REQUEST_GONE, result.vectors - erased - found)
            if found:
                _compare_all(tables, postgres, catalog, report, result, offline_settings)
    return result


def _compare_all(
    tables: StoreTables,
    postgres: PostgresSettings,
    catalog: Catalog,
    report: Callable[[str], None],
    result: SkewResult,
    offline_settings: OfflineSettings | None,
) -> None:
    """Compare the vectors that have a request, in the order of their times, some thousand at a time.

    So a batch needs the events of a short time only, and memory does not grow with the history.
    """
    history = open_event_history(catalog)
    if history is None:
        raise PermanentError("there is no event history yet: run redpanda_event_aggregation first")
    progress = events_progress(history.table)
    offsets = progress.offsets if progress else {}
    report("computing the features offline")
    with (
        tempfile.TemporaryDirectory(prefix="gourmetgram-skew-") as folder,
        open_engine(catalog, offline_settings) as engine,
    ):
        extract_to(postgres.database_url, Path(folder))
        raw = load_raw_rows(engine, open_raw_files(Path(folder)))
        rows = tables.stream("FROM scored ORDER BY time_us")
        while batch := list(map(_scored, islice(rows, BATCH_VECTORS))):
            scored = [each for each in batch if _is_covered(each, offsets, result)]
            if scored:
                _compare(_Twins.compute(engine, history, raw, scored), scored, result)


def _load_vectors(tables: StoreTables, postgres: PostgresSettings) -> int:
    """Fill the table `vectors` with the 29 features of every decision, as float32; a missing feature is NaN.

    Returns:
        The number of decisions.
    """
    engine = create_worker_engine(postgres, "gourmetgram-skew")
    try:
        with engine.connect() as connection:
            decisions = connection.execution_options(yield_per=_ROWS).execute(_VECTORS_SQL)
            tables.load("vectors", ((request, _vector(features), erased) for request, features, erased in decisions))
    finally:
        engine.dispose()
    ((number,),) = tables.rows("SELECT count(*) FROM vectors")
    return int(number)


def _vector(features: Mapping[str, float]) -> bytes:
    return np.array([features.get(name, np.nan) for name in FEATURE_NAMES], dtype=np.float32).tobytes()


def _scored(row: tuple[str, str, str, int, str, int, bytes]) -> _Scored:
    request_id, image_id, trigger, time_us, context, partition, vector = row
    request = ModerationRequest(request_id, image_id, trigger, time_us, orjson.loads(context))
    return _Scored(request, partition, np.frombuffer(vector, np.float32))


def _is_covered(scored: _Scored, offsets: Offsets, result: SkewResult) -> bool:
    """True if the history holds every record of the request's counts; other requests are counted as skipped."""
    reached = all(
        offset <= offsets.get(topic, {}).get(scored.partition, 0) for topic, offset in (scored.read_to or {}).items()
    )
    _skip(result, NOT_AGGREGATED, 0 if reached else 1)
    return reached


def _skip(result: SkewResult, reason: str, number: int) -> None:
    # Keep only reasons that occur.
    if number:
        result.skipped[reason] += number


class _Twins(NamedTuple):
    """Vectors of the offline computation.

    Attributes:
        rows: row of the matrix by request id; images without a row are missing.
        matrix: shape (rows, 29).
        scattered: requests of images with events in another partition than their own.
    """

    rows: dict[str, int]
    matrix: FeatureMatrix
    scattered: frozenset[str]

    @classmethod
    def compute(cls, engine: Engine, history: EventHistory, raw: RawRows, scored: Sequence[_Scored]) -> "_Twins":
        points = engine.load("points", offline.POINTS, _points(scored))
        limits = engine.load("read_limits", offline.READ_LIMITS, _read_limits(scored))
        times = [each.request.time_us for each in scored]
        events = load_events(engine, "events", history, between("event_time", min(times) - HOUR_US + 1, max(times) + 1))
        inputs = offline.feature_inputs(points, events, raw.users, raw.images, raw.flags, limits)
        table = engine.rows(offline.with_features(inputs))
        return cls(
            rows={request_id: row for row, request_id in enumerate(table["point_id"].to_pylist())},
            matrix=matrix_of_columns(tuple(table[name].to_numpy() for name in FEATURE_NAMES)),
            scattered=frozenset(engine.rows(_scattered(points, events, limits))["point_id"].to_pylist()),
        )


def _points(scored: Sequence[_Scored]) -> pa.Table:
    rows = [
        {"point_id": each.request.request_id, "image_id": each.request.image_id, "time_us": each.request.time_us}
        for each in scored
    ]
    return pa.Table.from_pylist(rows, schema=offline.POINTS.to_pyarrow())


def _read_limits(scored: Sequence[_Scored]) -> pa.Table:
    rows = [
        {
            "point_id": each.request.request_id,
            "topic": topic,
            "partition": each.partition,
            "next_offset": offset,
        }
        for each in scored
        for topic, offset in (each.read_to or {}).items()
    ]
    return pa.Table.from_pylist(rows, schema=offline.READ_LIMITS.to_pyarrow())


def _scattered(points: ir.Table, events: ir.Table, limits: ir.Table) -> ir.Table:
    """Points of images with events outside of their partition, for which order and counts are undefined."""
    home = points.inner_join(limits.select("point_id", "partition").distinct(), "point_id")
    places = events.select("image_id", found_in="partition").distinct()
    pairs = home.inner_join(places, "image_id")
    return pairs.filter(pairs.found_in != pairs.partition).select("point_id").distinct()


def _compare(twins: _Twins, scored: Sequence[_Scored], result: SkewResult) -> None:
    for each in scored:
        row = twins.rows.get(each.request.request_id)
        if row is None:
            _skip(result, IMAGE_GONE, 1)
            continue
        result.compared += 1
        reason = NO_CONTEXT if each.read_to is None else None
        if each.request.request_id in twins.scattered:
            reason = UNKEYED_EVENTS
        if reason is not None:
            result.in_part[reason] += 1
        # Also True for a missing feature, since NaN equals no number.
        differs = each.vector != twins.matrix[row]
        if reason is not None:
            differs &= ~_IS_WINDOW_FEATURE
        for place in np.flatnonzero(differs):
            _note(result, each, int(place), twins.matrix[row])


def _note(result: SkewResult, scored: _Scored, place: int, twin: NDArray[np.float32]) -> None:
    feature = FEATURE_NAMES[place]
    result.by_feature[feature] += 1
    if len(result.examples) < result.most_examples:
        request = scored.request
        stored, recomputed = float(scored.vector[place]), float(twin[place])
        result.examples.append(Difference(request.request_id, request.image_id, feature, stored, recomputed))
