"""Many minutes of mixed writes by 64 clients: does anything ever stall, and does `/health` stay quick?"""

import threading
import time
from contextlib import closing
from itertools import chain, islice, zip_longest

import httpx

from bench.api import SPREAD_IMAGES, USERS, workloads
from bench.load import run_load
from bench.platform import bench_stack, create_cast
from bench.report import Row

CLIENTS = 64
HEALTH_EVERY_S = 0.25


class HealthWatch:
    """Asks `/health` again and again from a thread of its own, and keeps how long each answer took."""

    def __init__(self, api_url: str) -> None:
        self._client = httpx.Client(base_url=api_url, timeout=30)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.latencies_ms: list[float] = []
        self._thread.start()

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(HEALTH_EVERY_S):
            begin = time.perf_counter()
            self._client.get("/health").raise_for_status()
            self.latencies_ms.append((time.perf_counter() - begin) * 1000)


def run(seconds: float) -> list[Row]:
    """Views, comments, flags and uploads in turn, as fast as 64 clients can."""
    with bench_stack(["api_v2", "stream_consumer", "risk_scoring_service"]) as stack:
        api_url = stack.environment()["GENERATOR_API_URL"]
        kinds = workloads(create_cast(api_url, USERS, SPREAD_IMAGES))
        some = [list(islice(requests, SPREAD_IMAGES)) for requests in kinds.values()]
        mixed = [request for request in chain.from_iterable(zip_longest(*some)) if request]
        with closing(HealthWatch(api_url)) as watch:
            result = run_load("127.0.0.1", stack.ports.api, mixed, clients=CLIENTS, seconds=seconds)
    health = sorted(watch.latencies_ms)
    return [
        Row(
            f"views, comments, flags and uploads in turn, {CLIENTS} clients, {seconds / 60:g} minutes",
            f"{result.rate:,.0f} req/s, p50 {result.percentile(0.5):.1f} ms, p99 {result.percentile(0.99):.1f} ms, "
            f"slowest {result.latencies_ms[-1]:,.0f} ms, {result.failures} failed",
            target="never stalls",
        ),
        Row(
            f"`/health` meanwhile, {len(health):,} times",
            f"p50 {health[len(health) // 2]:.1f} ms, p99 {health[int(0.99 * len(health))]:.1f} ms, "
            f"slowest {health[-1]:.1f} ms",
            target="< 100 ms",
        ),
    ]
