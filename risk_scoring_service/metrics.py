"""What `/metrics` shows."""

from prometheus_client import Counter, Gauge, Histogram

decisions = Counter("gourmetgram_scorer_decisions", "Decisions stored", ["mode", "recommendation"])
duplicates = Counter("gourmetgram_scorer_duplicates", "Requests that were delivered again; their row was there")
deleted_images = Counter("gourmetgram_scorer_deleted_images", "Requests for images that were deleted by then; no row")
dead_letters = Counter("gourmetgram_scorer_dead_letters", "Requests that went to the dead-letter topic", ["reason"])
failures = Counter(
    "gourmetgram_scorer_failures", "Attempts that failed and are repeated, by what they needed", ["server"]
)
waiting = Gauge("gourmetgram_scorer_waiting", "Requests read but not decided yet")
lag = Gauge("gourmetgram_scorer_lag", "Records between the group's committed offset and the end", ["partition"])
latency = Histogram(
    "gourmetgram_scorer_latency_seconds",
    "From the broker's time of a request to its stored decision",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 300),
)
batch_seconds = Histogram(
    "gourmetgram_scorer_batch_seconds",
    "Time to decide and store one batch",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
model_version = Gauge("gourmetgram_scorer_model_version", "Version of the model in use, 0 for none")
model_problem = Gauge("gourmetgram_scorer_model_problem", "1 while a published model cannot be loaded, else 0")
