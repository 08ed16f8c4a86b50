"""Prometheus metrics of the scorer."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

DECISIONS: Final = Counter("gourmetgram_scorer_decisions", "Decisions stored", ["mode", "recommendation"])
DUPLICATES: Final = Counter("gourmetgram_scorer_duplicates", "Requests delivered again; their row was there")
DELETED_IMAGES: Final = Counter(
    "gourmetgram_scorer_deleted_images", "Requests for images deleted at or before t; no row"
)
DEAD_LETTERS: Final = Counter("gourmetgram_scorer_dead_letters", "Requests published as dead letters", ["reason"])
FAILURES: Final = Counter("gourmetgram_scorer_failures", "Failed attempts, which are repeated, by server", ["server"])
WAITING: Final = Gauge("gourmetgram_scorer_waiting", "Requests read but not decided yet")
OLDEST_AGE: Final = Gauge(
    "gourmetgram_scorer_oldest_request_age_seconds",
    "Age of the oldest request that was read and not answered, 0 = none",
)
LAG: Final = Gauge("gourmetgram_scorer_lag", "Records between the group's committed offset and the end", ["partition"])
LATENCY: Final = Histogram(
    "gourmetgram_scorer_latency_seconds",
    "From the broker's time of a request to its stored decision",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 300),
)
BATCH_SECONDS: Final = Histogram(
    "gourmetgram_scorer_batch_seconds",
    "Time to decide and store one batch",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
MODEL_VERSION: Final = Gauge("gourmetgram_scorer_model_version", "Version of the model in use, 0 for none")
MODEL_PROBLEM: Final = Gauge("gourmetgram_scorer_model_problem", "1 while a published model cannot be loaded, else 0")
