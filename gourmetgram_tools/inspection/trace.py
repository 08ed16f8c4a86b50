"""Trace of one image: its records in every store, as one timeline."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.moments import EPOCH, to_us
from gourmetgram_tools.inspection import objects
from gourmetgram_tools.inspection.kafka_records import ImageRecords, read_image_records
from gourmetgram_tools.inspection.lakehouse import LakeImage, read_lake_image
from gourmetgram_tools.inspection.lineage import ModelLineage, read_lineage
from gourmetgram_tools.inspection.objects import StoredObject
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.redis_state import RedisKey, read_image_keys
from gourmetgram_tools.inspection.rows import ImageRows, connected, find_image_id, read_image_rows
from gourmetgram_tools.inspection.timeline import Moment, build_timeline, distinct, notable


@dataclass(frozen=True)
class Trace:
    """An image's records in every store, with their timeline."""

    image_id: str
    rows: ImageRows
    picture: StoredObject | None
    records: ImageRecords
    keys: list[RedisKey]
    iceberg: LakeImage | None
    models: list[ModelLineage]
    timeline: list[Moment]

    @property
    def found(self) -> bool:
        """True if at least one store has the image."""
        return bool(self.timeline or self.keys)

    def to_json(self) -> dict[str, Any]:
        """Convert the trace to one JSON document; of many views it has only the notable ones."""
        views = distinct(self.records, "view")
        return {
            "image_id": self.image_id,
            "partition": self.records.partition,
            **asdict(self.rows),
            "picture": self.picture._asdict() if self.picture else None,
            "views": {
                "events": len(views),
                "eligible": sum(view.actor_eligible for view in views),
                "from_api": sum(view.api for view in views),
                "notable": [{"number": number, **asdict(view)} for number, view in notable(views)],
            },
            "events": [asdict(event) for event in self.records.events if event.kind != "view"],
            "repeated_events": sum(event.copy for event in self.records.events),
            "requests": [asdict(request) for request in self.records.requests],
            "dead_letters": [asdict(letter) for letter in self.records.dead_letters],
            "redis": [asdict(key) for key in self.keys],
            "iceberg": asdict(self.iceberg) if self.iceberg else None,
            "models": [asdict(model) for model in self.models],
            "timeline": [asdict(moment) for moment in self.timeline],
        }


def trace(platform: Platform, image: str) -> Trace:
    """Trace an image.

    Args:
        platform: addresses of the stores.
        image: id of the image, or a prefix of at least eight characters.

    Raises:
        PermanentError: there is no such image, or the prefix fits several.
        TransientError: a store is away.
    """
    engine = create_worker_engine(platform.postgres, "gourmetgram-trace")
    try:
        with connected(engine) as connection:
            image_id = find_image_id(connection, image)
            rows = read_image_rows(connection, image_id)
    finally:
        engine.dispose()
    since = rows.image.created_at if rows.image else EPOCH
    with ThreadPoolExecutor(5) as pool:
        records = pool.submit(read_image_records, platform.kafka, image_id, to_us(since))
        keys = pool.submit(read_image_keys, platform.redis, image_id)
        picture = pool.submit(objects.describe, platform.objects, rows.image.s3_url) if rows.image else None
        models = pool.submit(read_lineage, platform, rows.decisions)
        iceberg = pool.submit(read_lake_image, platform.iceberg, image_id, since)
        found = (picture.result() if picture else None, records.result(), keys.result())
        timeline = build_timeline(rows, *found)
        return Trace(image_id, rows, *found, iceberg.result(), models.result(), timeline)
