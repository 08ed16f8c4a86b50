"""Making of a backup while the platform works. docs/decisions/backup.md shows why the order of the steps is right."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

from gourmetgram import buckets
from gourmetgram.database.migrate import current_revision
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, RecordsGoneError, create_range_reader, held_ranges
from gourmetgram.moments import utc_text
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.backup.databases import clock, connected, dump, exists, libpq_url, shared_snapshot
from gourmetgram_tools.backup.folder import BackupFolder, BackupManifest, GroupOffset, PartitionOffsets
from gourmetgram_tools.backup.keys import paused_redis
from gourmetgram_tools.backup.lake import key_of, metadata_locations, needed_files, refuse_rest_catalog
from gourmetgram_tools.backup.objects import ObjectArchive, object_client
from gourmetgram_tools.backup.records import CLIENT_ID, dump_records, group_offsets
from gourmetgram_tools.inspection.objects import object_key
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.local.progress import StepProgress, StepReport

APPLICATION: Final = "application"
CATALOG: Final = "iceberg_catalog"
MLFLOW: Final = "mlflow"

_ATTEMPTS: Final = 3
_PICTURES: Final = "SELECT s3_url FROM images"
_PICTURES_AT_ONCE: Final = 10_000


class _Point(NamedTuple):
    """State of the platform at the backup's point.

    Attributes:
        time: the point, by PostgreSQL's clock.
        ends: ranges of the records that belong to it.
        groups: committed offsets.
        keys: number of Redis keys in the dump.
    """

    time: str
    ends: dict[Partition, OffsetRange]
    groups: list[GroupOffset]
    keys: int


def database_urls(platform: Platform) -> dict[str, str]:
    """Addresses of the databases that belong to a backup, by their names in it."""
    application = libpq_url(platform.postgres.database_url)
    return {
        APPLICATION: application,
        CATALOG: libpq_url(platform.iceberg.uri),
        MLFLOW: libpq_url(application, MLFLOW),
    }


def make_backup(platform: Platform, path: Path, steps: StepProgress) -> BackupManifest:
    """Copy all stores to a new folder.

    Args:
        platform: addresses of the stores; the services may work.
        path: the folder, absent or empty.
        steps: receives each step.

    Returns:
        The manifest, which is written last.

    Raises:
        PermanentError: the folder has content, a store has data that cannot be copied,
            or the catalog is a REST catalog.
        TransientError: a store is away, or changed too fast.
    """
    refuse_rest_catalog(platform.iceberg)
    folder, urls = BackupFolder.create(path), database_urls(platform)
    with ExitStack() as closing_last:
        client = closing_last.enter_context(object_client(platform.objects))
        pictures = closing_last.enter_context(ObjectArchive(client, platform.objects.s3_bucket_name, folder.pictures))
        with steps.step("Lakehouse") as report:
            objects = _copy_lake(platform, client, folder, report)
        with steps.step("Pictures") as report:
            pictures.add_changed(report)
        with closing_last.enter_context(ExitStack()) as snapshot_open:
            with steps.step("Redis, and the point of the backup") as report:
                cursor, snapshot, point = _take_point(platform, folder, snapshot_open, report)
            with steps.step("PostgreSQL"):
                dump(urls[APPLICATION], folder.database(APPLICATION), snapshot)
            with steps.step("New pictures"):
                missing = _add_new_pictures(cursor, platform.objects.s3_bucket_name, pictures)
        with steps.step("Kafka") as report:
            ranges = _copy_records(platform.kafka, point.ends, folder, report)
        with steps.step("Models") as report:
            databases, others = _copy_models(platform, client, folder, report)
        objects += len(pictures.held) + others
    with steps.step("Digests") as report:
        manifest = BackupManifest(
            platform_version=version("gourmetgram"),
            point=point.time,
            revision=current_revision(platform.postgres) or "",
            databases=databases,
            partitions=tuple(
                PartitionOffsets(topic=each.topic, number=each.number, start=span.start, end=span.end)
                for each, span in ranges.items()
            ),
            groups=tuple(point.groups),
            keys=point.keys,
            objects=objects,
            missing_pictures=tuple(missing),
            files=folder.digests(report),
        )
        folder.finish(manifest)
    return manifest


def warehouse_prefix(platform: Platform) -> str:
    """Prefix of the keys of the lakehouse's files, with a slash at its end."""
    return f"{platform.iceberg.warehouse.removeprefix(f's3://{buckets.DATALAKE}/')}/"


def _copy_lake(platform: Platform, client: Any, folder: BackupFolder, report: StepReport) -> int:  # noqa: ANN401
    """Copy the catalog and each file that it needs; maintenance may delete one meanwhile, then all is copied again."""
    url = database_urls(platform)[CATALOG]
    failure: PermanentError | None = None
    for _ in range(_ATTEMPTS):
        with shared_snapshot(url) as (cursor, snapshot):
            locations = metadata_locations(cursor)
            dump(url, folder.database(CATALOG), snapshot)
        try:
            with ObjectArchive(client, buckets.DATALAKE, folder.lake) as archive:
                for address in needed_files(platform.iceberg, locations):
                    key = key_of(address, buckets.DATALAKE)
                    if key not in archive.held and not archive.add(key):
                        raise PermanentError(f"{address} is missing.")
                    report(f"{len(archive.held):,} files")
                return len(archive.held)
        except PermanentError as error:
            failure = error
    raise PermanentError(f"The lakehouse could not be copied, {_ATTEMPTS} times: {failure}") from failure


def _take_point(
    platform: Platform, folder: BackupFolder, snapshot_open: ExitStack, report: StepReport
) -> tuple[Any, str, _Point]:
    """Hold Redis for a moment, and fix the state of all stores around it.

    Order: Redis stands still; groups; ends of dead letters and events; PostgreSQL; ends of requests.

    Returns:
        A cursor in PostgreSQL's snapshot, the snapshot's id, and the point.
    """
    kafka, url = platform.kafka, database_urls(platform)[APPLICATION]
    with closing(create_range_reader(kafka, CLIENT_ID, CLIENT_ID)) as reader:
        partitions = held_ranges(reader, kafka.all_topics)
        events = [each for each in partitions if each.topic in kafka.event_topics]
        requests = [each for each in partitions if each.topic == kafka.moderation_topic]
        with paused_redis(platform.redis) as redis:
            groups = group_offsets(kafka, platform.consumer_group, events)
            groups += group_offsets(kafka, platform.scorer_group, requests)
            time = clock(url)
            ends = held_ranges(reader, [kafka.dead_letter_topic])
            ends |= held_ranges(reader, kafka.event_topics)
            cursor, snapshot = snapshot_open.enter_context(shared_snapshot(url))
            ends |= held_ranges(reader, [kafka.moderation_topic])
            keys = redis.dump(folder.redis, report)
    return cursor, snapshot, _Point(utc_text(time), ends, groups, keys)


def _add_new_pictures(cursor: Any, bucket: str, pictures: ObjectArchive) -> list[str]:  # noqa: ANN401 - psycopg2
    """Copy the pictures that PostgreSQL's snapshot names and the archive does not have yet.

    Returns:
        Keys of those that the bucket does not have.
    """
    missing = []
    cursor.execute(_PICTURES)
    while rows := cursor.fetchmany(_PICTURES_AT_ONCE):
        keys = (object_key(url, bucket) for (url,) in rows)
        missing += [key for key in keys if key is not None and key not in pictures.held and not pictures.add(key)]
    return sorted(missing)


def _copy_records(
    kafka: KafkaSettings, ends: Mapping[Partition, OffsetRange], folder: BackupFolder, report: StepReport
) -> dict[Partition, OffsetRange]:
    """Copy the records below the ends; retention may delete the oldest meanwhile, then all are copied again."""
    for _ in range(_ATTEMPTS):
        with closing(create_range_reader(kafka, CLIENT_ID, CLIENT_ID)) as reader:
            held = held_ranges(reader, kafka.all_topics)
        ranges = {each: OffsetRange(min(held[each].start, span.end), span.end) for each, span in ends.items()}
        try:
            dump_records(kafka, ranges, folder, report)
        except RecordsGoneError:
            continue
        return ranges
    raise TransientError("Retention deleted records while they were copied, each time: make the backup again.")


def _copy_models(
    platform: Platform,
    client: Any,  # noqa: ANN401 - see object_client
    folder: BackupFolder,
    report: StepReport,
) -> tuple[tuple[str, ...], int]:
    """Copy models, then MLflow's database, then artifacts: each names only things that are copied after it."""
    urls = database_urls(platform)
    names = [APPLICATION, CATALOG]
    with ObjectArchive(client, buckets.DATALAKE, folder.datalake) as archive:
        archive.add_until_unchanged(report, without=warehouse_prefix(platform))
        if exists(urls[APPLICATION], MLFLOW):
            with connected(urls[MLFLOW]):
                dump(urls[MLFLOW], folder.database(MLFLOW))
            names.append(MLFLOW)
            archive.add_until_unchanged(report, without=warehouse_prefix(platform))
        return tuple(names), len(archive.held)
