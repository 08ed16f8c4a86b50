"""Memory and processor time of the offline programs on histories of growing length, on each engine.

`python -m bench.growth --events 2000000 8000000` measures and prints. Each program runs in a process of its own. With
`--engines spark duckdb`, the tables are dropped between two engines, so that both begin with an empty lake.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

from bench.aggregation import ALLOCATOR
from bench.engines import DUCKDB, SPARK, SPARK_MEMORY
from bench.history import RULES, History
from bench.memory import run_measured
from bench.platform import bench_stack
from bench.report import Row, markdown
from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import OfflineSettings, process_environment
from gourmetgram.training_data.extract import extract
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.load import load
from gourmetgram.training_data.transform import transform
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.skew import measure_skew
from gourmetgram_tools.inspection.trace import trace
from gourmetgram_tools.local.stack import Stack

SIZES = (2_000_000, 8_000_000)
ENGINES = (DUCKDB,)


def run(sizes: Sequence[int] = SIZES, engines: Sequence[str] = ENGINES, only: Sequence[str] = ()) -> list[Row]:
    """Measure the programs on one platform that grows to each number of events in turn.

    Args:
        sizes: numbers of events, growing.
        engines: engines of the lake's programs. All other programs run once, after the last one.
        only: names of the programs; empty = all.
    """
    rows = []
    with bench_stack([]) as stack:
        platform = _platform(stack)
        history = History(platform, sizes[-1])
        for events in sizes:
            history.write(events)
            for engine in engines:
                _drop_tables(platform)
                works = [work for work in WORKS if work in ON_BOTH or engine == engines[-1]]
                for work in (work for work in works if not only or work in only):
                    rows.append(_measure(stack.name, work, history, events, engine))
                    print(rows[-1], flush=True)
    return rows


def _measure(stack: str, work: str, history: History, events: int, engine: str) -> Row:
    command = [sys.executable, "-m", "bench.growth", "--child", stack, work, history.star]
    variables = {"OFFLINE_ENGINE": engine if work in ON_BOTH else DUCKDB, **SPARK_MEMORY, **ALLOCATOR}
    use = run_measured(command, {**process_environment(), **variables})
    found = json.loads(use.output)
    on = f" on {engine}" if work in ON_BOTH else ""
    name = f"{work}{on} at {events:,} events, {history.requests:,} decisions: {found['result']}"
    measured = f"peak {use.peak_bytes / 1e6:.0f} MB, {use.cpu_s:.1f} s of CPU, {found['seconds']:.1f} s"
    return Row(name, measured, target="peak <= 2,000 MB" if engine == DUCKDB else "")


def _drop_tables(platform: Platform) -> None:
    with open_catalog(platform.iceberg) as catalog:
        for namespace in catalog.list_namespaces():
            for table in catalog.list_tables(namespace):
                catalog.purge_table(table)


def _platform(stack: Stack) -> Platform:
    consumer, scorer = (stack.environment(name) for name in ("stream_consumer", "risk_scoring_service"))
    return Platform.from_environment(stack.environment(), {**consumer, **RULES}, scorer)


def _aggregate(platform: Platform, _image: str) -> str:
    sources = Sources(platform.iceberg, platform.kafka, platform.postgres)
    engine = OfflineSettings.load()
    result = aggregate_events(sources, offline_settings=engine)
    for kind in WINDOWED_KINDS:
        write_windows(sources.iceberg, kind, engine)
    return f"{result.records:,} records"


def _train(platform: Platform, _image: str) -> str:
    lake, engine = Lake(platform.iceberg), OfflineSettings.load()
    extract(platform.postgres.database_url, lake)
    with open_catalog(platform.iceberg) as catalog:
        return f"{transform(lake, catalog, engine).kept:,} rows, {load(lake, catalog, engine).rows:,} loaded"


def _audit(platform: Platform, _image: str) -> str:
    result = audit(platform)
    for check in result.checks:
        print(check.name, check.expected, check.actual, len(check.differences), check.differences[:3], file=sys.stderr)
    return f"{result.differences} differences"


def _skew(platform: Platform, _image: str) -> str:
    with open_catalog(platform.iceberg) as catalog:
        found = measure_skew(platform.postgres, platform.kafka, catalog, offline_settings=OfflineSettings.load())
    print(found.to_json(), file=sys.stderr)
    return f"{found.compared:,} compared, {found.differences} differences"


def _trace(platform: Platform, image: str) -> str:
    return f"{len(trace(platform, image).records.events):,} events of the image"


WORKS: dict[str, Callable[[Platform, str], str]] = {
    "aggregation": _aggregate,
    "training data": _train,
    "skew": _skew,
    "trace": _trace,
    "audit": _audit,
}

ON_BOTH = ("aggregation", "training data", "skew")
"""The programs that `OFFLINE_ENGINE` changes."""


def _child(stack: str, work: str, image: str) -> None:
    began = time.perf_counter()
    result = WORKS[work](_platform(Stack.load(stack)), image)
    print(json.dumps({"result": result, "seconds": time.perf_counter() - began}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument(
        "--events", type=int, nargs="+", default=SIZES, help="numbers of events: growing, multiples of a million"
    )
    parser.add_argument("--engines", nargs="+", choices=(DUCKDB, SPARK), default=ENGINES, help="in this order (duckdb)")
    parser.add_argument("--only", nargs="+", choices=tuple(WORKS), default=(), help="programs (all)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(*options.child)
    else:
        print(markdown(run(options.events, options.engines, options.only)))


if __name__ == "__main__":
    main()
