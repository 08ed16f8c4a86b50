"""Prometheus metrics of an API; those of its batches are in gourmetgram/database/group_commit.py."""

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gourmetgram.settings import process_environment

REQUESTS: Final = Counter("gourmetgram_http_requests_total", "Answered requests", ["method", "route", "status"])
REQUEST_SECONDS: Final = Histogram("gourmetgram_http_request_seconds", "Time from request to answer", ["route"])
ORPHANS_REMOVED: Final = Counter("gourmetgram_orphans_removed_total", "Removed orphans (pictures without a row)")
PICTURES_OWNED: Final = Gauge(
    "gourmetgram_pictures_owned",
    "1 when the bucket of pictures belongs to the database, 0 when no orphan is removed",
    multiprocess_mode="mostrecent",
)

SEVERAL_PROCESSES: Final = bool(process_environment().get("PROMETHEUS_MULTIPROC_DIR"))
"""True when this process shares its port, and its metrics, with others (`API_WORKERS`)."""


def registry() -> CollectorRegistry:
    """Metrics of this API: of all its processes, ended ones included, when it has several."""
    if not SEVERAL_PROCESSES:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return shared


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry())
