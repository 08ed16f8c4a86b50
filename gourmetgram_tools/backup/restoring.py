"""Restore of a backup into empty stores. The application's database comes last: without it, nothing works."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from gourmetgram import buckets
from gourmetgram.database.migrate import current_revision
from gourmetgram.database.outbox import REPLAY
from gourmetgram.database.revision import name_of
from gourmetgram.errors import PermanentError
from gourmetgram.kafka.ranges import OffsetRange, create_range_reader, held_ranges
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.restored import continue_on_restored_topics
from gourmetgram.moments import parse_utc
from gourmetgram_tools.backup.databases import exists, first_filled_table, other_clients, restore
from gourmetgram_tools.backup.folder import BackupFolder, BackupManifest
from gourmetgram_tools.backup.keys import count_keys, restore_keys
from gourmetgram_tools.backup.lake import refuse_rest_catalog
from gourmetgram_tools.backup.making import APPLICATION, MLFLOW, database_urls
from gourmetgram_tools.backup.objects import listed, object_client, restore_objects
from gourmetgram_tools.backup.records import CLIENT_ID, restore_groups, restore_records
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.local.progress import StepProgress

_OWNER: Final = ".owner"
"""Object of a fresh bucket, which names its installation."""


def restore_backup(platform: Platform, path: Path, steps: StepProgress) -> BackupManifest:
    """Fill empty stores from a backup; the services must not run.

    Args:
        platform: addresses of the stores.
        path: folder of the backup.
        steps: receives each step.

    Raises:
        PermanentError: the backup is damaged, the catalog is a REST catalog, or a store is in use, not empty, or of
            another revision.
        TransientError: a store is away. The stores may be half full: empty them before the next attempt.
    """
    refuse_rest_catalog(platform.iceberg)
    folder, urls = BackupFolder(path), database_urls(platform)
    with steps.step("Checking the backup") as report:
        manifest = folder.verify(report)
    with steps.step("Checking the stores"):
        for problem in _obstacles(platform, manifest):
            raise PermanentError(f"{problem} Nothing was changed. docs/backup.md shows the steps of a restore.")
    with steps.step("Kafka") as report:
        restore_records(platform.kafka, {each.partition: each.span for each in manifest.partitions}, folder, report)
        restore_groups(platform.kafka, manifest.groups)
    with object_client(platform.objects) as client:
        for title, bucket, file in (
            ("Lakehouse", buckets.DATALAKE, folder.lake),
            ("Models", buckets.DATALAKE, folder.datalake),
            ("Pictures", platform.objects.s3_bucket_name, folder.pictures),
        ):
            with steps.step(title) as report:
                restore_objects(client, bucket, file, report)
    with steps.step("Redis"):
        restore_keys(platform.redis, folder.redis)
    with steps.step("PostgreSQL"):
        for name in manifest.databases:
            if name != APPLICATION:
                restore(urls[name], folder.database(name))
        continue_on_restored_topics(Sources(platform.iceberg, platform.kafka, platform.postgres))
        since = f"'{parse_utc(manifest.point).isoformat()}'"
        restore(urls[APPLICATION], folder.database(APPLICATION), REPLAY.replace(":since", since))
    return manifest


def _obstacles(platform: Platform, manifest: BackupManifest) -> Iterator[str]:
    """Sentences about stores that cannot take this backup."""
    urls = database_urls(platform)
    if clients := other_clients(urls[APPLICATION]):
        yield f"The database is in use by {', '.join(clients)}: stop all services first."
    revision = current_revision(platform.postgres)
    if revision != manifest.revision:
        yield (
            f"The schema of the backup is at {name_of(manifest.revision)}, that of the database at "
            f"{name_of(revision)}: restore with the code that made the backup, then update."
        )
    for name in manifest.databases:
        if name == MLFLOW and not exists(urls[APPLICATION], MLFLOW):
            yield "The server has no database mlflow, which the backup needs: create it (docker/init_sql)."
        elif table := first_filled_table(urls[name]):
            yield _not_empty(f"The table {table} of the database {name}")
    if keys := count_keys(platform.redis):
        yield _not_empty(f"Redis ({keys:,} keys)")
    yield from _other_topics(platform, manifest)
    with object_client(platform.objects) as client:
        for bucket in (buckets.DATALAKE, platform.objects.s3_bucket_name):
            if key := _first_object(client, bucket):
                yield _not_empty(f"The bucket {bucket} ({key})")


def _other_topics(platform: Platform, manifest: BackupManifest) -> Iterator[str]:
    topics = sorted({each.topic for each in manifest.partitions})
    with closing(create_range_reader(platform.kafka, CLIENT_ID, CLIENT_ID)) as reader:
        held = held_ranges(reader, topics)
    if held.keys() != {each.partition for each in manifest.partitions}:
        yield (
            f"The broker has {len(held)} partitions of {', '.join(topics)}, the backup has {len(manifest.partitions)}: "
            "make the topics with the same number of partitions."
        )
    for partition, span in held.items():
        if span != OffsetRange(0, 0):
            yield _not_empty(f"{partition} of Kafka (offsets {span})")


def _first_object(client: Any, bucket: str) -> str | None:  # noqa: ANN401 - see object_client
    return next((key for key, _etag in listed(client, bucket) if key != _OWNER), None)


def _not_empty(store: str) -> str:
    return f"{store} is not empty. A restore fills only empty stores, so that nothing is overwritten."
