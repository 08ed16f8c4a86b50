"""The way from rows and events to `moderation.training_data`, run as the DAGs run it, on stores of one test."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pyiceberg.table import Table

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.training_data.extract import Extraction, extract
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.load import Load, load
from gourmetgram.training_data.table import TRAINING_TABLE
from gourmetgram.training_data.transform import PROCESSED_FILE, Transformation, transform
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.scoring import People

RowKey = tuple[str, int]
"""Image id and minutes after the upload."""


class TrainingPipeline:
    """Writes rows with their events, runs the tasks, and reads the table."""

    def __init__(self, platform: LakehousePlatform, folder: Path) -> None:
        self.platform = platform
        self.folder = folder
        self.people = People(platform.sources.postgres.database_url)
        self.lake = Lake(platform.sources.iceberg)
        self.now = datetime.now(UTC)

    # --- history -----------------------------------------------------------------------------------------------------

    def image(self, ago: timedelta, owner: str | None = None, event: bool = True, **values: object) -> str:
        """An image uploaded so long ago, and its upload event."""
        at = self.now - ago
        owner = owner or self.people.user(created_at=at - timedelta(days=2))
        image_id = self.people.image(owner, created_at=at, **values)
        if event:
            self.publish("upload", image_id, at)
        return image_id

    def publish(self, kind: str, image_id: str, at: datetime, **fields: object) -> None:
        self.platform.publish(self.platform.make(kind, image_id, at, **fields))

    def flag(self, image_id: str, ago: timedelta, **values: object) -> str:
        """A flag's row and event."""
        at = self.now - ago
        self.publish("flag", image_id, at)
        return self.people.flag(image_id=image_id, created_at=at, **values)

    def sql(self, statement: str, *values: object) -> None:
        self.platform.sql(statement, *values)

    # --- tasks -------------------------------------------------------------------------------------------------------

    def extract(self) -> Extraction:
        return extract(self.platform.sources.postgres.database_url, self.lake)

    def transform(self) -> Transformation:
        with self.platform.catalog() as catalog:
            return transform(self.lake, catalog)

    def load(self) -> Load:
        with self.platform.catalog() as catalog:
            return load(self.lake, catalog)

    def train(self) -> tuple[Transformation, Load]:
        """The three tasks of moderation_training."""
        self.extract()
        return self.transform(), self.load()

    def run(self) -> tuple[Transformation, Load]:
        """The aggregation, then the three tasks."""
        self.platform.aggregate()
        return self.train()

    # --- what is there -----------------------------------------------------------------------------------------------

    def processed(self) -> bytes:
        """The Parquet file of the last transformation."""
        path = self.folder / "processed.parquet"
        self.lake.download(PROCESSED_FILE, path)
        return path.read_bytes()

    def rows(self) -> dict[RowKey, dict[str, Any]]:
        """The table's rows; fails when a key is there twice."""
        with self.table() as table:
            found = table.scan().to_arrow().to_pylist()
        rows = {(row["image_id"], row["decision_point_minutes"]): row for row in found}
        assert len(rows) == len(found)
        return rows

    def labels(self, image_id: str) -> list[int | None]:
        rows = self.rows()
        return [rows[image_id, minutes]["label_needs_moderation_24h"] for minutes in (0, 5, 30)]

    def table(self) -> "_OpenTable":
        return _OpenTable(self)

    def snapshot_ids(self) -> list[int]:
        with self.table() as table:
            return [snapshot.snapshot_id for snapshot in table.metadata.snapshots]

    def summary(self) -> dict[str, Any]:
        """The platform's properties of the newest snapshot, the counts decoded."""
        with self.table() as table:
            snapshot = table.current_snapshot()
        assert snapshot is not None and snapshot.summary is not None
        found: dict[str, Any] = {
            key.removeprefix("gourmetgram."): value
            for key, value in snapshot.summary.additional_properties.items()
            if key.startswith("gourmetgram.")
        }
        found["rows_dropped"] = {key: n for key, n in orjson.loads(found["rows_dropped"]).items() if n}
        return found


class _OpenTable:
    """`moderation.training_data` while the catalog is open."""

    def __init__(self, pipeline: TrainingPipeline) -> None:
        self._opened = open_catalog(pipeline.platform.sources.iceberg)

    def __enter__(self) -> Table:
        return self._opened.__enter__().load_table(TRAINING_TABLE)

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)


@pytest.fixture
def pipeline(lakehouse: LakehousePlatform, tmp_path: Path) -> TrainingPipeline:
    """A pipeline on stores of this test alone."""
    return TrainingPipeline(lakehouse, tmp_path)
