"""Made-up rows of moderation.training_data, in which flags are likelier where comments and views come fast."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog

from gourmetgram.features.definition import CATEGORIES
from gourmetgram.training_data.table import ARROW_SCHEMA, ensure_training_table

MINUTES = (0, 5, 30)
NOW = datetime(2026, 3, 11, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def training_row(image_id: str, uploaded: datetime, minutes: int = 0, **values: Any) -> dict[str, Any]:
    """One row; all counts are 0, the label is a 0 that was observed for the whole day, unless given.

    A label of 1 comes from a flag a minute after the anchor.
    """
    anchor = uploaded + timedelta(minutes=minutes)
    row: dict[str, Any] = dict.fromkeys(ARROW_SCHEMA.names, 0)
    row |= {
        "image_id": image_id,
        "decision_point_minutes": minutes,
        "time_since_upload_seconds": minutes * 60,
        "view_velocity_per_min": 0.0,
        "comment_to_view_ratio": 0.0,
        "recent_engagement_score": 0.0,
        "category": "Soup",
        "label_observed_until": uploaded + timedelta(days=1),
        "anchor_time": anchor,
        "first_flagged_at": anchor + timedelta(minutes=1) if values.get("label_needs_moderation_24h") else None,
    }
    assert set(values) <= set(row)
    return {**row, **values}


def synthetic_rows(images: int = 200, seed: int = 42, days: int = 7) -> list[dict[str, Any]]:
    """Rows of images uploaded over some days before `NOW`, a tenth to a third of them harmful."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(images):
        uploaded = NOW - timedelta(days=days + 1) + timedelta(days=days) * (number / images)
        heat = float(random.gamma(1.5))
        label = int(random.random() < 1 / (1 + np.exp(4 - 2 * heat)))
        for minutes in MINUTES:
            views, comments = (int(random.poisson(rate * heat * min(minutes, 5))) for rate in (4, 1))
            flags = int(random.random() < 0.1 * heat * minutes / 30)
            rows.append(
                training_row(
                    f"00000000-0000-4000-8000-{number:012x}",
                    uploaded,
                    minutes,
                    views_5min=views,
                    views_1hr=3 * views,
                    comments_5min=comments,
                    comments_1hr=2 * comments,
                    total_flags=flags,
                    flags_1hr=flags,
                    view_velocity_per_min=views / 5,
                    comment_to_view_ratio=2 * comments / max(3 * views, 1),
                    recent_engagement_score=float(views + 5 * comments),
                    hour_of_day=uploaded.hour,
                    category=CATEGORIES[number % len(CATEGORIES)],
                    label_needs_moderation_24h=label,
                )
            )
    return rows


def write_rows(catalog: Catalog, rows: list[dict[str, Any]]) -> int | None:
    """Append rows to moderation.training_data, creating it; returns the snapshot."""
    table = ensure_training_table(catalog)
    if rows:
        table.append(pa.Table.from_pylist(rows, schema=ARROW_SCHEMA))
    return table.metadata.current_snapshot_id
