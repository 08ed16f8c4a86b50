"""Prometheus metrics of an API process; those of its batches are in gourmetgram/database/group_commit.py."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter("gourmetgram_http_requests_total", "Answered requests", ["method", "route", "status"])
REQUEST_SECONDS: Final = Histogram("gourmetgram_http_request_seconds", "Time from request to answer", ["route"])
ORPHANS_REMOVED: Final = Counter("gourmetgram_orphans_removed_total", "Removed orphans (pictures without a row)")
PICTURES_OWNED: Final = Gauge(
    "gourmetgram_pictures_owned", "1 when the bucket of pictures belongs to the database, 0 when no orphan is removed"
)
