"""Objects come back with content, type and metadata."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.backup.objects import ObjectArchive, listed, object_client, restore_objects

pytestmark = pytest.mark.servers

LARGE = 20 * 1024 * 1024


@pytest.fixture(name="client", scope="module")
def client_fixture(s3_environment: dict[str, str]) -> Iterator[Any]:
    with object_client(ObjectStoreSettings.load(s3_environment)) as client:
        yield client


@pytest.fixture(name="bucket")
def bucket_fixture(client: Any, unique_name: Any) -> str:
    name = str(unique_name("objects"))
    client.create_bucket(Bucket=name)
    return name


def _nothing(_text: str) -> None:
    pass


def test_content_type_and_metadata_come_back(client: Any, bucket: str, unique_name: Any, tmp_path: Path) -> None:
    target = str(unique_name("objects"))
    client.create_bucket(Bucket=target)
    long_key = "/".join(["a folder", "é", "x" * 200])
    client.put_object(Bucket=bucket, Key=long_key, Body=b"picture", ContentType="image/png", Metadata={"run": "7"})
    client.put_object(Bucket=bucket, Key="large", Body=b"ab" * (LARGE // 2))
    client.put_object(Bucket=bucket, Key="empty", Body=b"")
    with ObjectArchive(client, bucket, tmp_path / "tar") as archive:
        archive.add_until_unchanged(_nothing)
    assert restore_objects(client, target, tmp_path / "tar", _nothing) == 3
    found = client.get_object(Bucket=target, Key=long_key)
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"picture", "image/png", {"run": "7"})
    assert client.get_object(Bucket=target, Key="large")["Body"].read() == b"ab" * (LARGE // 2)
    assert client.get_object(Bucket=target, Key="empty")["Body"].read() == b""


def test_of_an_object_that_changes_meanwhile_the_last_content_counts(
    client: Any, bucket: str, unique_name: Any, tmp_path: Path
) -> None:
    target = str(unique_name("objects"))
    client.create_bucket(Bucket=target)
    client.put_object(Bucket=bucket, Key="model", Body=b"old")
    client.put_object(Bucket=bucket, Key="warehouse/file", Body=b"left out")
    with ObjectArchive(client, bucket, tmp_path / "tar") as archive:
        archive.add_changed(_nothing, without="warehouse/")
        client.put_object(Bucket=bucket, Key="model", Body=b"new")
        archive.add_until_unchanged(_nothing, without="warehouse/")
    restore_objects(client, target, tmp_path / "tar", _nothing)
    assert client.get_object(Bucket=target, Key="model")["Body"].read() == b"new"
    assert [key for key, _etag in listed(client, target)] == ["model"]


def test_an_object_that_is_gone_is_reported(client: Any, bucket: str, tmp_path: Path) -> None:
    with ObjectArchive(client, bucket, tmp_path / "tar") as archive:
        assert not archive.add("never there")
        assert archive.held == {}
