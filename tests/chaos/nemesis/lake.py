"""The lake against the rows: after a gap was accepted, each view is still there once."""

import sys
from collections.abc import Collection, Mapping
from typing import NamedTuple

import pyarrow as pa

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.filters import equals
from gourmetgram.lakehouse.ownership import folder_files
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.settings import IcebergSettings
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.skew import measure_skew


def lake_violations(settings: IcebergSettings, views: Mapping[str, int], without: Collection[str]) -> list[str]:
    """Sentences about images with more or fewer distinct view events in `events` than views in their row.

    Args:
        settings: the catalog.
        views: views by image id.
        without: images whose views were lost in PostgreSQL.
    """
    with open_catalog(settings) as catalog:
        table = catalog.load_table(EVENTS)
        found = table.scan(equals("event_type", "view"), selected_fields=("image_id", "event_id")).to_arrow()
    counts = distinct_events(found)
    return [
        f"image {image_id} has {wanted} views, and {counts.get(image_id, 0)} view events in the lake"
        for image_id, wanted in views.items()
        if image_id not in without and counts.get(image_id, 0) != wanted
    ]


def distinct_events(rows: pa.Table) -> dict[str, int]:
    """Number of distinct events by image."""
    counted = rows.group_by("image_id").aggregate([("event_id", "count_distinct")])
    return dict(zip(counted["image_id"].to_pylist(), counted["event_id_count_distinct"].to_pylist(), strict=True))


def event_files(settings: IcebergSettings) -> set[str]:
    """Data files in the folder of `events`, whether the catalog knows them or not."""
    with open_catalog(settings) as catalog:
        return set(folder_files(catalog.load_table(EVENTS), "/data"))


class Skew(NamedTuple):
    """Comparison of served features with those of the history in the lake.

    Attributes:
        compared: number of compared vectors.
        explained: differences of images from before the way out of a cut log: offsets in their requests name other
            records in the lake.
        found: sentences about all other differences.
    """

    compared: int
    explained: int
    found: list[str]

    def __str__(self) -> str:
        return (
            f"skew: {self.compared:,} vectors compared, {len(self.found)} differences; "
            f"{self.explained:,} values of images from before the way out of a cut log are not comparable"
        )


def skew_of(platform: Platform, moved: Collection[str]) -> Skew:
    """Compute every stored vector again from the lake.

    Args:
        platform: addresses of the stores.
        moved: images from before the way out of a cut log.
    """
    with open_catalog(platform.iceberg) as catalog:
        result = measure_skew(platform.postgres, platform.kafka, catalog, most_examples=sys.maxsize)
    found = [str(each) for each in result.examples if each.image_id not in moved]
    return Skew(result.compared, len(result.examples) - len(found), found)
