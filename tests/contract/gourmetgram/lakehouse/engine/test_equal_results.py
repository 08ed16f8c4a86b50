"""One result on both engines: Apache Spark computes what DuckDB computes, to the last bit."""

import hashlib
import itertools
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.features import offline
from gourmetgram.features.definition import FeatureInputs
from gourmetgram.lakehouse.audit import event_counts, window_sums
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.parsing import parse_slowly
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import WINDOW_US, window_counts, write_windows
from gourmetgram.settings import OfflineSettings
from gourmetgram.training_data.extract import extract_to
from gourmetgram.training_data.inputs import load_event_rows, load_raw_rows, open_raw_files
from gourmetgram.training_data.load import load
from gourmetgram.training_data.transform import transform
from tests.contract.gourmetgram.features.test_parity import KNOWN, draw_plans, store_rows
from tests.support.histories import act_out
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.training_pipeline import TrainingPipeline

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

T = TypeVar("T")

HISTORIES = 60
DUCKDB = OfflineSettings()
LARGE = 2**53


def digest(file: bytes) -> str:
    """SHA-256 of all values of a Parquet file in their order."""
    sink = pa.BufferOutputStream()
    table = pq.read_table(pa.BufferReader(file)).replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def hostile_history(pipeline: TrainingPipeline) -> None:
    """Images with Unicode, gaps, equal times, late flags, deletions and every kind of event."""
    now = pipeline.now
    for number, caption in enumerate(("", "naïve 🍜", "日本語", "'; --", "plain")):
        image = pipeline.image(timedelta(hours=2 + 13 * number, microseconds=number), caption=caption, category="Soup")
        at = now - timedelta(hours=2 + 13 * number, microseconds=number)
        for kind, minutes in itertools.product(("view", "comment", "flag"), (0, 0, 4, 5, 29, 65)):
            pipeline.publish(kind, image, at + timedelta(minutes=minutes, microseconds=number % 2))
        if number % 2:
            pipeline.flag(image, timedelta(hours=1 + 13 * number), review_status="confirmed")
    pipeline.image(timedelta(hours=3), event=False)
    pipeline.image(timedelta(hours=5), deleted_at=now)


def test_training_data_is_the_same_file_and_the_same_table(pipeline: TrainingPipeline, spark: OfflineSettings) -> None:
    hostile_history(pipeline)
    pipeline.platform.aggregate()
    pipeline.extract()
    digests = {}
    with pipeline.platform.catalog() as catalog:
        for engine in (DUCKDB, spark):
            result = transform(pipeline.lake, catalog, engine)
            assert result.kept > 10
            digests[engine.offline_engine] = digest(pipeline.processed())
        assert digests["spark"] == digests["duckdb"]
        loaded = load(pipeline.lake, catalog, spark)
        assert loaded.added > 0
        again = load(pipeline.lake, catalog, DUCKDB)
        assert (again.added, again.removed, again.rows) == (0, 0, loaded.rows)
        assert not [name for (name, *_) in catalog.list_namespaces() if name.startswith("scratch_")]


def test_all_features_of_drawn_histories_are_equal(
    database_url: str, catalog: Catalog, spark: OfflineSettings, tmp_path: Path
) -> None:
    offsets = itertools.count()
    histories = [act_out(plan, offsets) for plan in [*KNOWN.values(), *draw_plans(HISTORIES)]]
    store_rows(database_url, histories)
    extract_to(database_url, tmp_path)
    events = parse_slowly(record for history in histories for record in history.records).rows
    points = pa.Table.from_pylist([point._asdict() for history in histories for point in history.points])
    places = events.select(["topic", "partition"]).group_by(["topic", "partition"]).aggregate([]).to_pylist()
    half = events["offset"].to_pylist()[events.num_rows // 2]
    limits = pa.Table.from_pylist(
        [{"point_id": key, **place, "next_offset": half} for key in points["point_id"].to_pylist() for place in places]
    )

    def computed(engine: Engine) -> list[pa.Table]:
        raw = load_raw_rows(engine, open_raw_files(tmp_path))
        loaded = engine.load("points", offline.POINTS, points)
        bronze = load_event_rows(engine, "events", events)
        read_to = engine.load("read_limits", offline.READ_LIMITS, limits)
        inputs = [
            offline.feature_inputs(loaded, bronze, raw.users, raw.images, raw.flags, each) for each in (None, read_to)
        ]
        return [engine.rows(offline.with_features(each).order_by("point_id")) for each in inputs]

    both = on_both(catalog, spark, computed)
    assert both[0][0].num_rows == points.num_rows
    assert both[0][0] != both[0][1], "the limits would not be tested"
    assert both[1] == both[0]


def test_formulas_are_equal_at_the_limits_of_exact_numbers(catalog: Catalog, spark: OfflineSettings) -> None:
    fields = {name: "string" if name == "category" else "int64" for name in FeatureInputs._fields}
    values = (0, 1, 3, 59, 86_399_999_999, LARGE - 1, LARGE)
    rows = [
        {name: "Soup" if kind == "string" else values[(row * (place + 1) + place) % 7] for place, (name, kind) in
         enumerate(fields.items())}
        for row in range(7)
    ]  # fmt: skip
    schema = ibis.schema({"row": "int64", **fields})
    data = pa.Table.from_pylist([{"row": number, **row} for number, row in enumerate(rows)])

    def computed(engine: Engine) -> pa.Table:
        return engine.rows(offline.with_features(engine.load("inputs", schema, data)).order_by("row"))

    found = on_both(catalog, spark, computed)
    assert found[1] == found[0]


def test_windows_and_counts_are_equal_and_exact(lakehouse: LakehousePlatform, spark: OfflineSettings) -> None:
    image = str(uuid.uuid4())
    edge = lakehouse.now.replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    for kind, microseconds in itertools.product(
        WINDOWED_KINDS, (-1, 0, 0, 1, WINDOW_US - 1, WINDOW_US, 13 * WINDOW_US)
    ):
        event = lakehouse.make(kind, image, edge + timedelta(microseconds=microseconds))
        lakehouse.publish(event, event if microseconds else event | {"event_id": str(uuid.uuid4())})
    lakehouse.publish(lakehouse.make("view", at=edge - timedelta(days=40), actor_eligible=False))
    lakehouse.aggregate()
    for kind in WINDOWED_KINDS:
        assert write_windows(lakehouse.sources.iceberg, kind, spark).rows > 0
    lakehouse.assert_exact()
    # A table that one engine has begun is continued by the other.
    lakehouse.publish(lakehouse.make("view", image, edge), lakehouse.make("flag", image, edge))
    lakehouse.aggregate()
    for kind, engine in zip(WINDOWED_KINDS, (DUCKDB, spark, spark), strict=True):
        write_windows(lakehouse.sources.iceberg, kind, engine)
    lakehouse.assert_exact()
    with lakehouse.catalog() as catalog:
        assert event_counts(catalog, offline_settings=spark) == event_counts(catalog)
        assert window_sums(catalog, offline_settings=spark) == window_sums(catalog)


def test_windows_before_1970_are_counted_alike(catalog: Catalog, spark: OfflineSettings) -> None:
    schema = ibis.schema({"image_id": "uuid", "event_id": "uuid", "actor_eligible": "boolean", "time_us": "int64"})
    times = [-1, 0, 1, -WINDOW_US, -WINDOW_US - 1, WINDOW_US, 2**52]
    events = pa.Table.from_pylist(
        [
            {
                "image_id": str(uuid.UUID(int=number % 2)),
                "event_id": str(uuid.UUID(int=number)),
                "actor_eligible": number % 3 > 0,
                "time_us": time_us,
            }
            for number, time_us in enumerate(times * 2)
        ]
    )
    touched = pa.table({"window_us": sorted({time_us // WINDOW_US * WINDOW_US for time_us in times})})

    def computed(engine: Engine) -> pa.Table:
        counts = window_counts(
            engine.load("bronze", schema, events), engine.load("touched", ibis.schema({"window_us": "int64"}), touched)
        )
        return engine.batches(counts.order_by("window_us", "image_id")).read_all()

    on_duckdb, on_spark = on_both(catalog, spark, computed)
    assert sum(on_duckdb["event_count"].to_pylist()) == len(times) * 2
    assert on_spark == on_duckdb


def on_both(catalog: Catalog, spark: OfflineSettings, compute: Callable[[Engine], T]) -> list[T]:
    """What a function computes on DuckDB, and on Spark."""
    found = []
    for settings in (DUCKDB, spark):
        with open_engine(catalog, settings) as engine:
            found.append(compute(engine))
    return found
