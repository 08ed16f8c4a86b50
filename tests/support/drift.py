"""Decisions with stored features, written as the scorer would leave them."""

import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import orjson
import psycopg2
from psycopg2.extras import execute_values

from gourmetgram.features.definition import CATEGORIES, CATEGORY_FEATURES, FEATURE_NAMES, NUMERIC_FEATURES

TRIGGER_OF_MINUTES = {0: "upload", 5: "anchor_5", 30: "anchor_30"}


def features_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The 29 features by name of a row of moderation.training_data."""
    features = {name: row[name] for name in NUMERIC_FEATURES}
    features |= {
        name: int(row["category"] == category) for name, category in zip(CATEGORY_FEATURES, CATEGORIES, strict=True)
    }
    return {name: features[name] for name in FEATURE_NAMES}


def serve(database_url: str, rows: Iterable[Mapping[str, Any]], at: datetime, **values: Any) -> None:
    """Store a decision for each training row, as if the scorer had seen that image at that decision point.

    Args:
        database_url: libpq URL of the application database.
        rows: rows of moderation.training_data.
        at: time of the decisions.
        values: other values of columns, for all rows.
    """
    decisions = [
        {
            "target_type": "image",
            "target_id": str(uuid.uuid4()),
            "inference_mode": "heuristic",
            "risk_score": 0.1,
            "recommendation": "SAFE",
            "trigger_type": TRIGGER_OF_MINUTES[row["decision_point_minutes"]],
            "features": orjson.dumps(features_of(row)).decode(),
            "created_at": at,
            **values,
        }
        for row in rows
    ]
    columns = ", ".join(decisions[0])
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        execute_values(
            cursor, f"INSERT INTO moderation ({columns}) VALUES %s", [tuple(each.values()) for each in decisions]
        )
