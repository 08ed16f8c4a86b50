"""`python -m bench`: measure, print the tables, and write them into docs/performance.md."""

import argparse
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime

from bench import aggregation, api, compression, endurance, latency, scaling, streams, training, training_transform
from bench.report import Row, markdown, write_section

SUITES: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "api": lambda options: api.run(options.seconds),
    "consumer": lambda options: streams.consumer_rows(options.events),
    "scorer": lambda options: streams.scorer_rows(options.requests),
    "latency": lambda options: latency.run(options.bursts),
    "endurance": lambda options: endurance.run(60 * options.minutes),
    "aggregation": lambda _options: aggregation.run(),
    "compression": lambda options: compression.run(options.seconds),
    "scaling": lambda options: scaling.run(options.seconds),
    "transform": lambda options: training_transform.run(options.images, options.history),
    "training": lambda options: training.run(options.rows),
}


def main() -> None:
    """Run the chosen suites, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"which of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each API measurement (8)")
    parser.add_argument("--events", type=int, default=200_000, help="events for the consumer to drain (200000)")
    parser.add_argument("--requests", type=int, default=50_000, help="requests for the scorer to drain (50000)")
    parser.add_argument("--bursts", type=int, default=40, help="bursts of the latency suite (40)")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the endurance suite (10)")
    parser.add_argument("--images", type=int, default=20_000, help="images of the training transform (20000)")
    parser.add_argument("--history", type=int, default=2_000_000, help="events of the training transform (2000000)")
    parser.add_argument("--rows", type=int, default=6_000_000, help="rows of the training table (6000000)")
    parser.add_argument("--no-write", action="store_true", help="print only, leave docs/performance.md as it is")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"unknown suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    for name in options.suites or SUITES:
        table = markdown(SUITES[name](options))
        stamp = (
            f"Measured {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"with `python -m bench {name}`."
        )
        print(f"\n## {name}\n\n{stamp}\n\n{table}\n", flush=True)
        if not options.no_write:
            write_section(name, f"\n{stamp}\n\n{table}\n")


if __name__ == "__main__":
    main()
