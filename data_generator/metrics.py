"""Prometheus metrics of the data generator."""

from typing import Final

from prometheus_client import Counter

ACTIONS: Final = Counter("gourmetgram_generator_actions", "Actions that the API accepted.", ["kind"])
FAILURES: Final = Counter("gourmetgram_generator_failures", "Actions that failed.")
ARRIVALS_MISSED: Final = Counter(
    "gourmetgram_generator_arrivals_missed", "Arrivals that were late or dropped.", ["how"]
)
