"""The consumer's Prometheus metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS: Final = Counter("gourmetgram_consumer_events_processed", "Events read, by kind, eligible or not", ["kind"])
INELIGIBLE: Final = Counter("gourmetgram_consumer_events_ineligible", "Events by ineligible actors", ["kind"])
REPEATED: Final = Counter("gourmetgram_consumer_events_repeated", "Duplicates of events that were applied before")
DEAD_LETTERS: Final = Counter(
    "gourmetgram_consumer_dead_letters", "Malformed messages published as dead letters, by topic", ["topic"]
)
ALERTS: Final = Counter("gourmetgram_consumer_alerts", "Conditions met", ["trigger"])
REQUESTS: Final = Counter("gourmetgram_consumer_requests", "Moderation requests that the broker confirmed", ["trigger"])
REQUESTS_WAITING: Final = Gauge("gourmetgram_consumer_requests_waiting", "Requests raised and not confirmed yet")
FAILURES: Final = Counter("gourmetgram_consumer_failures", "Outages and errors, by server or step", ["where"])
BATCH_RECORDS: Final = Histogram(
    "gourmetgram_consumer_batch_records", "Records of a batch", buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
)
BATCH_SECONDS: Final = Histogram(
    "gourmetgram_consumer_batch_seconds",
    "From sending a batch to the answer of Redis",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
)
LAG: Final = Gauge("gourmetgram_consumer_lag_records", "Records not applied yet", ["topic", "partition"])
OLDEST_UNREAD_AGE: Final = Gauge(
    "gourmetgram_consumer_oldest_unread_age_seconds", "Age of the oldest event that is not applied yet, 0 = none"
)
