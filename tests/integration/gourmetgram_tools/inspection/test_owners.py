"""The audit notes buckets and folders of another owner, and an adoption makes them the platform's own."""

import uuid
from datetime import UTC, datetime

import pytest

from gourmetgram.buckets import BucketMark, read_mark, write_mark
from gourmetgram.lakehouse import ownership
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.schemas import EVENTS, ensure_tables
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.inspection.owners import adopt_pictures, adopt_tables
from tests.support.inspection_fixtures import Scene, scene_fixture, small_platform_fixture  # noqa: F401

pytestmark = pytest.mark.servers

NOTE = "buckets and folders of another owner, where nothing is removed"


def notes(scene: Scene) -> list[str]:
    result = audit(scene.platform, deadline_s=20)
    assert result.differences == 0
    return [example for note in result.notes if note.name == NOTE for example in note.examples]


def test_places_of_another_owner_are_noted_until_they_are_adopted(scene: Scene) -> None:
    objects, iceberg = scene.platform.objects, scene.platform.iceberg
    with open_catalog(iceberg) as catalog:
        ensure_tables(catalog)
    assert notes(scene) == []
    write_mark(objects, BucketMark(str(uuid.uuid4()), 0))
    with open_catalog(iceberg) as catalog:
        table = catalog.load_table(EVENTS)
        ownership._write(table, ownership.TableMark(str(uuid.uuid4()), "", datetime.now(UTC)))
    bucket, folder = notes(scene)
    assert bucket.startswith(f"bucket {objects.s3_bucket_name}: the bucket belongs to database")
    assert folder.startswith(f"folder of {EVENTS}: its folder belongs to table")
    assert adopt_pictures(scene.engine, objects) == read_mark(objects)
    assert EVENTS in {adopted.table for adopted in adopt_tables(iceberg)}
    assert notes(scene) == []
