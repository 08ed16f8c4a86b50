"""Prometheus metrics that version 2 adds: those of its relay."""

from typing import Final

from prometheus_client import Counter, Gauge

from api_v1.metrics import registry

EVENTS_PUBLISHED: Final = Counter("gourmetgram_outbox_published_total", "Events confirmed by the broker", ["topic"])
EVENTS_PENDING: Final = Gauge(
    "gourmetgram_outbox_pending", "Events that wait in the outbox", multiprocess_mode="mostrecent"
)
OLDEST_EVENT_AGE: Final = Gauge(
    "gourmetgram_outbox_oldest_age_seconds",
    "Age of the oldest event that waits, 0 = none",
    multiprocess_mode="mostrecent",
)
BROKER_CONNECTED: Final = Gauge(
    "gourmetgram_outbox_broker_connected", "1 while the broker answers", multiprocess_mode="mostrecent"
)


def published_by_topic() -> dict[str, int]:
    """Number of events that all processes of this API have published, by topic."""
    samples = (sample for metric in registry().collect() for sample in metric.samples)
    return {
        sample.labels["topic"]: int(sample.value)
        for sample in samples
        if sample.name == "gourmetgram_outbox_published_total"
    }
