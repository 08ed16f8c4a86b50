"""One of each part of the stream against two of each: rate, and processor time of each part for one view.

Where the parts compete for the cores, only the processor time tells whether a second one costs more for each event.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import Consumer, TopicPartition

from bench.api import USERS, workloads
from bench.load import run_load
from bench.platform import bench_stack, create_cast
from bench.report import Row
from gourmetgram.kafka.clients import client_config
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings
from gourmetgram.waiting import wait_for
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.stack import Stack
from tests.support.consumer_platform import free_port

SERVICES: Final = ("api_v2", "stream_consumer", "risk_scoring_service")
IMAGES: Final = 200
CLIENTS: Final = 16
GROUP: Final = "gourmetgram-stream-consumer"


@contextmanager
def _process(command: list[str], environment: dict[str, str] | None = None) -> Iterator[int]:
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def _platform(number: int) -> Iterator[tuple[Stack, dict[str, list[int]]]]:
    """A stack with one or two of each part, and the process numbers of each part."""
    with bench_stack([]) as stack, ExitStack() as twins:
        extra: dict[str, list[int]] = {}
        if number == 2:
            port, folder = free_port(), Path(twins.enter_context(tempfile.TemporaryDirectory()))
            options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
            server = [str(toolchain.valkey_server()), *options, "--loglevel", "warning"]
            extra["redis"] = [twins.enter_context(_process(server))]
            first = f"redis://127.0.0.1:{stack.environment()['REDIS_PORT']}/0"
            stack.override("REDIS_URLS", f"{first},redis://127.0.0.1:{port}/0")
            stack.override("API_WORKERS", "2")
        stack.up(SERVICES)
        if number == 2:
            for service in SERVICES[1:]:
                variables = {**stack.environment(service), "HEALTH_HOST": "127.0.0.1", "HEALTH_PORT": str(free_port())}
                extra[service] = [twins.enter_context(_process([sys.executable, "-m", service], variables))]
        own = {each.name: each.pid for each in stack.status()}
        yield (
            stack,
            {
                name: [pid for pid in (own[name], *extra.get(name, ())) if pid is not None]
                for name in (*SERVICES, "redis")
            },
        )


def _cpu_s(pids: list[int]) -> float:
    """Processor time of processes and their children so far, seconds."""
    roots = [psutil.Process(pid) for pid in pids]
    times = [each.cpu_times() for root in roots for each in (root, *root.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


@contextmanager
def _counted(settings: KafkaSettings) -> Iterator[Callable[[], None]]:
    """A wait until the consumers have committed all views."""
    places = [TopicPartition(settings.kafka_topic_views, number) for number in range(4)]
    with closing(Consumer({**client_config(settings, "bench"), "group.id": GROUP})) as reader:

        def probe() -> bool:
            ends = [reader.get_watermark_offsets(place, timeout=10)[1] for place in places]
            return [max(0, place.offset) for place in reader.committed(places, timeout=10)] == ends

        def wait() -> None:
            wait_for(probe, deadline_s=120, every_s=0.2, late=lambda _: TimeoutError("the views are not counted"))

        yield wait


def _measure(number: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Views a second, from the first request until all are counted, and microseconds of each part for a view."""
    with _platform(number) as (stack, parts), _counted(KafkaSettings.load(stack.environment())) as wait:
        requests = workloads(create_cast(stack.environment()["GENERATOR_API_URL"], USERS, IMAGES))["view, 1,000 images"]
        host = ("127.0.0.1", stack.ports.api)
        run_load(*host, requests, clients=CLIENTS, seconds=seconds / 2)  # all processes and their caches are warm
        wait()
        before, begin = {name: _cpu_s(pids) for name, pids in parts.items()}, time.perf_counter()
        views = len(run_load(*host, requests, clients=CLIENTS, seconds=seconds).latencies_ms)
        wait()
        rate = views / (time.perf_counter() - begin)
        return rate, {name: 1e6 * (_cpu_s(pids) - before[name]) / views for name, pids in parts.items()}


def run(seconds: float) -> list[Row]:
    """Views over HTTP through all parts: one of each, then two of each."""
    (rate, cost), (rate_of_two, cost_of_two) = _measure(1, seconds), _measure(2, seconds)
    rows = [Row(f"views/s, {CLIENTS} clients, two of each", f"{rate_of_two:,.0f}", f"{rate:,.0f} (one of each)",
                f"{rate_of_two / rate:.2f} x")]  # fmt: skip
    rows += [
        Row(
            f"processor time of {name} for a view, two of each",
            f"{cost_of_two[name]:,.0f} µs",
            f"{cost[name]:,.0f} µs (one of each)",
            f"{cost_of_two[name] / cost[name]:.2f} x",
        )
        for name in cost
    ]
    return rows
