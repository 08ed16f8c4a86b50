"""Memory and processor time of the offline programs on histories of growing length.

`python -m bench.growth --events 2000000 8000000` measures and prints. Each program runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.aggregation import ALLOCATOR
from bench.history import RULES, History
from bench.memory import peak_memory_bytes
from bench.platform import bench_stack
from bench.report import Row, markdown
from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import process_environment
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


def run(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Measure all programs on one platform that grows to each number of events in turn."""
    rows = []
    with bench_stack([]) as stack:
        history = History(_platform(stack), sizes[-1])
        for events in sizes:
            history.write(events)
            for work in WORKS:
                found = _in_process(stack.name, work, history.star)
                measured = f"peak {found['peak_mb']:.0f} MB, {found['cpu']:.1f} s of CPU, {found['seconds']:.1f} s"
                name = f"{work} at {events:,} events, {history.requests:,} decisions: {found['result']}"
                rows.append(Row(name, measured, target="peak <= 2,000 MB"))
    return rows


def _platform(stack: Stack) -> Platform:
    consumer, scorer = (stack.environment(name) for name in ("stream_consumer", "risk_scoring_service"))
    return Platform.from_environment(stack.environment(), {**consumer, **RULES}, scorer)


def _in_process(stack: str, work: str, image: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.growth", "--child", stack, work, image]
    finished = subprocess.run(
        command, env={**process_environment(), **ALLOCATOR}, stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def _aggregate(platform: Platform, _image: str) -> str:
    sources = Sources(platform.iceberg, platform.kafka, platform.postgres)
    result = aggregate_events(sources)
    for kind in WINDOWED_KINDS:
        write_windows(sources.iceberg, kind)
    return f"{result.records:,} records"


def _train(platform: Platform, _image: str) -> str:
    lake = Lake(platform.iceberg)
    extract(platform.postgres.database_url, lake)
    with open_catalog(platform.iceberg) as catalog:
        return f"{transform(lake, catalog)}, {load(lake, catalog)}"


def _audit(platform: Platform, _image: str) -> str:
    result = audit(platform)
    for check in result.checks:
        print(check.name, check.expected, check.actual, len(check.differences), check.differences[:3], file=sys.stderr)
    return f"{result.differences} differences"


def _skew(platform: Platform, _image: str) -> str:
    with open_catalog(platform.iceberg) as catalog:
        found = measure_skew(platform.postgres, platform.kafka, catalog)
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


def _child(stack: str, work: str, image: str) -> None:
    began = time.perf_counter()
    result = WORKS[work](_platform(Stack.load(stack)), image)
    found = {"result": result, "seconds": time.perf_counter() - began, "cpu": time.process_time()}
    print(json.dumps({**found, "peak_mb": peak_memory_bytes() / 1e6}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument(
        "--events", type=int, nargs="+", default=SIZES, help="numbers of events: growing, multiples of a million"
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(*options.child)
    else:
        print(markdown(run(options.events)))


if __name__ == "__main__":
    main()
