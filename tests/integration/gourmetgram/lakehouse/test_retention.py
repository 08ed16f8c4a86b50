"""Days beyond the retention leave events and windows together, and nothing else changes."""

import uuid
from datetime import timedelta

import pytest

from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.audit import event_counts, window_sums
from gourmetgram.lakehouse.progress import events_progress
from gourmetgram.lakehouse.retention import drop_old_days
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES
from gourmetgram.lakehouse.windows import processed_through
from tests.support.lakehouse_platform import LakehousePlatform

pytestmark = pytest.mark.servers


def test_the_next_run_drops_days_beyond_the_setting_from_events_and_windows(lakehouse: LakehousePlatform) -> None:
    image = str(uuid.uuid4())
    lakehouse.publish(
        *(lakehouse.make("view", image, lakehouse.now - timedelta(days=days)) for days in (0, 30, 50, 90))
    )
    lakehouse.run()
    sources = lakehouse.sources
    shorter = sources.iceberg.model_copy(update={"lake_retention_days": 31})
    lakehouse.sources = Sources(shorter, sources.kafka, sources.postgres)
    lakehouse.run()
    with lakehouse.catalog() as catalog:
        assert event_counts(catalog)["view"].events == 2
        assert window_sums(catalog)["view"].events == 2
        table, windows = catalog.load_table(EVENTS), catalog.load_table(WINDOW_TABLES["view"])
        progress = events_progress(table)
        assert progress is not None and progress.offsets == lakehouse.end_offsets()
        assert processed_through(windows) == progress.ingested_at
        assert drop_old_days(table, 31) == 0
