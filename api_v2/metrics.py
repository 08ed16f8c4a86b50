"""Prometheus metrics that version 2 adds: those of its relay."""

from typing import Final

from prometheus_client import Counter, Gauge

EVENTS_PUBLISHED: Final = Counter("gourmetgram_outbox_published_total", "Events confirmed by the broker", ["topic"])
EVENTS_PENDING: Final = Gauge("gourmetgram_outbox_pending", "Events that wait in the outbox")
OLDEST_EVENT_AGE: Final = Gauge("gourmetgram_outbox_oldest_age_seconds", "Age of the oldest event that waits, 0 = none")
BROKER_CONNECTED: Final = Gauge("gourmetgram_outbox_broker_connected", "1 while the broker answers")
