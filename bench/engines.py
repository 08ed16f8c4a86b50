"""The training transform on both engines, on months of made-up events that are written to the lake directly.

`python -m bench.engines --events 2000000 8000000 32000000` measures and prints. Each transform runs in processes of its
own. Both engines must write the same rows in the same order.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]

from bench.aggregation import ALLOCATOR
from bench.memory import run_measured
from bench.platform import bench_stack
from bench.report import Row, markdown
from bench.training_transform import fresh_lakehouse, lakehouse_settings, write_month
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.scratch import scratch_folder
from gourmetgram.settings import OfflineSettings, process_environment
from gourmetgram.training_data.extract import extract
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.transform import PROCESSED_FILE, transform
from gourmetgram_tools.local.stack import Stack

EVENTS_PER_IMAGE = 50
DUCKDB, SPARK = "duckdb", "spark"
ENGINES = (DUCKDB, SPARK)
SIZES = (2_000_000, 8_000_000, 32_000_000)

SPARK_MEMORY = {"JDK_JAVA_OPTIONS": "-Xmx2g"}
"""Memory of Spark's Java, without that of its Python tasks."""


def run(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Measure both engines on each number of events."""
    rows = []
    with bench_stack([]) as stack:
        for events in sizes:
            with fresh_lakehouse(stack) as name:
                _write(stack, name, events)
                found = {engine: _measure(stack, name, engine) for engine in ENGINES}
            rows += [Row(f"transform of {events:,} events on {engine}", found[engine][0]) for engine in ENGINES]
            print(markdown(rows[-len(found) :]), flush=True)
            digests = {digest for _figure, digest in found.values()}
            assert len(digests) == 1, f"the engines wrote different rows of {events:,} events"
    return rows


def _write(stack: Stack, name: str, events: int) -> None:
    settings, url = lakehouse_settings(stack, name), stack.postgres.url(name)
    with open_catalog(settings) as catalog:
        write_month(url, catalog, events // EVENTS_PER_IMAGE, events)
    extract(url, Lake(settings))


def _measure(stack: Stack, name: str, engine: str) -> tuple[str, str]:
    """Time and memory of a transform, and the digest of its rows."""
    command = [sys.executable, "-m", "bench.engines", "--child", stack.name, name]
    use = run_measured(command, {**process_environment(), "OFFLINE_ENGINE": engine, **SPARK_MEMORY, **ALLOCATOR})
    found = json.loads(use.output)
    took = f"{found['seconds']:.0f} s, {use.cpu_s:.0f} s of CPU, peak {use.peak_bytes / 1e6:,.0f} MB"
    return f"{found['rows']:,} rows, {took}", found["digest"]


def _child(stack_name: str, name: str) -> None:
    settings = lakehouse_settings(Stack.load(stack_name), name)
    lake, began = Lake(settings), time.perf_counter()
    with open_catalog(settings) as catalog:
        rows = transform(lake, catalog, OfflineSettings.load()).kept
    seconds = time.perf_counter() - began
    with scratch_folder("bench") as folder:
        lake.download(PROCESSED_FILE, folder / "rows.parquet")
        digest = _digest(folder / "rows.parquet")
    print(json.dumps({"rows": rows, "seconds": seconds, "digest": digest}))


def _digest(path: Path) -> str:
    """Digest of the rows in their order. The engines divide a long file into other row groups."""
    rows = pd.util.hash_pandas_object(pd.read_parquet(path), index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=SIZES, help="numbers of events")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(*options.child)
    else:
        run(options.events)


if __name__ == "__main__":
    main()
