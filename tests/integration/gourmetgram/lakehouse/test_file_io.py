"""The lake's files: each small one is written with one request, and metadata is read once a process."""

from collections.abc import Iterator
from urllib.parse import urlparse

import pytest
from cachetools import LRUCache
from pyiceberg.table import Table

from gourmetgram.clients import s3
from gourmetgram.lakehouse import file_io
from gourmetgram.lakehouse.catalog import catalog_properties
from gourmetgram.lakehouse.file_io import LakeFileIO
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.settings import IcebergSettings, ObjectStoreSettings
from gourmetgram_tools.local.stack import Stack
from tests.support.lakehouse_platform import LakehousePlatform

pytestmark = pytest.mark.servers

MEGABYTE = 1024 * 1024


class Bucket:
    """A bucket as boto3 sees it, beside everything that is tested here."""

    def __init__(self, variables: dict[str, str], name: str) -> None:
        self.name = name
        self.client = s3.connect(ObjectStoreSettings.load(variables), s3.JOB)

    def put(self, key: str, body: bytes) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return f"s3://{self.name}/{key}"

    def delete(self, location: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=urlparse(location).path.lstrip("/"))

    def is_in_parts(self, location: str) -> bool:
        """The tag of what was uploaded in parts ends with their number."""
        tag: str = self.client.head_object(Bucket=self.name, Key=urlparse(location).path.lstrip("/"))["ETag"]
        return "-" in tag

    def locations(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [f"s3://{self.name}/{item['Key']}" for page in pages for item in page.get("Contents", [])]


@pytest.fixture(name="bucket", scope="module")
def bucket_fixture(s3_environment: dict[str, str]) -> Iterator[Bucket]:
    bucket = Bucket(s3_environment, s3_environment["S3_BUCKET_NAME"])
    yield bucket
    bucket.client.close()


@pytest.fixture(name="lake_io")
def lake_io_fixture(stack: Stack) -> LakeFileIO:
    return LakeFileIO(catalog_properties(IcebergSettings.load(stack.environment())))


def read(lake_io: LakeFileIO, location: str) -> bytes:
    with lake_io.new_input(location).open() as stream:
        return stream.read()


def manifests(table: Table) -> list[str]:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return [manifest.manifest_path for manifest in snapshot.manifests(table.io)]


def test_no_file_of_a_commit_is_uploaded_in_parts(lakehouse: LakehousePlatform, stack: Stack) -> None:
    lakehouse.publish_many(20)
    lakehouse.run()
    warehouse = urlparse(lakehouse.sources.iceberg.warehouse)
    bucket = Bucket(stack.environment(), warehouse.netloc)
    found = bucket.locations(warehouse.path.lstrip("/"))
    assert {location.rpartition(".")[2] for location in found} == {"parquet", "avro", "json", "owner"}
    assert [location for location in found if bucket.is_in_parts(location)] == []
    bucket.client.close()


def test_a_large_file_is_uploaded_in_parts_and_complete(lake_io: LakeFileIO, bucket: Bucket) -> None:
    location = f"s3://{bucket.name}/large.parquet"
    pieces = [bytes([number]) * MEGABYTE for number in range(24)]
    with lake_io.new_output(location).create() as stream:
        for piece in pieces:
            stream.write(piece)
    assert bucket.is_in_parts(location)
    assert read(lake_io, location) == b"".join(pieces)


def test_metadata_is_read_once_a_process(lakehouse: LakehousePlatform, stack: Stack) -> None:
    lakehouse.publish_many(20)
    lakehouse.aggregate()
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        planned = {task.file.file_path for task in table.scan().plan_files()}
        bucket = Bucket(stack.environment(), urlparse(table.location()).netloc)
        for location in manifests(table):
            bucket.delete(location)
        bucket.client.close()
        # Loaded anew, with the same memory.
        again = catalog.load_table(EVENTS)
        assert {task.file.file_path for task in again.scan().plan_files()} == planned


@pytest.mark.parametrize("name", ["part.parquet", "unreferenced-files.json"])
def test_what_may_change_is_always_read(lake_io: LakeFileIO, bucket: Bucket, name: str) -> None:
    location = bucket.put(name, b"old")
    assert read(lake_io, location) == b"old"
    bucket.put(name, b"new")
    assert read(lake_io, location) == b"new"


def test_memory_for_metadata_is_bounded(lake_io: LakeFileIO, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_io, "_kept", LRUCache(10, getsizeof=len))
    larger_than_all = bucket.put("a.avro", b"x" * 11)
    first, second, third = (bucket.put(f"{number}.avro", b"12345") for number in range(3))
    for location in (larger_than_all, first, second, third):
        assert read(lake_io, location) == (b"x" * 11 if location == larger_than_all else b"12345")
    assert {location for _, location in file_io._kept} == {second, third}


def test_absent_metadata_is_reported_each_time(lake_io: LakeFileIO, bucket: Bucket) -> None:
    location = f"s3://{bucket.name}/absent.avro"
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            read(lake_io, location)
    bucket.put("absent.avro", b"there")
    assert read(lake_io, location) == b"there"


def test_tables_of_a_process_share_one_connection(lakehouse: LakehousePlatform) -> None:
    lakehouse.aggregate()
    with lakehouse.catalog() as one, lakehouse.catalog() as other:
        first, second = (catalog.load_table(EVENTS).io for catalog in (one, other))
        assert isinstance(first, LakeFileIO) and isinstance(second, LakeFileIO)
        place = urlparse(lakehouse.sources.iceberg.warehouse).netloc
        assert first.fs_by_scheme("s3", place) is second.fs_by_scheme("s3", place)
