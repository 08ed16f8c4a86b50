"""All three S3 clients (boto3, obstore, Arrow) over https, with static keys and with the keys of a role."""

import http.server
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from botocore.exceptions import SSLError

from gourmetgram.clients import s3
from gourmetgram.errors import TransientError
from gourmetgram.lakehouse import file_io
from gourmetgram.lakehouse.catalog import catalog_properties
from gourmetgram.lakehouse.file_io import LakeFileIO
from gourmetgram.object_store import ObjectStore
from gourmetgram.settings import IcebergSettings, ObjectStoreSettings
from tests.support.secured.certificates import Certificates
from tests.support.secured.minio import SecuredMinio, SessionKeys

pytestmark = pytest.mark.servers

STATIC_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def iceberg_settings(variables: dict[str, str]) -> IcebergSettings:
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__S3__"
    found = {
        f"{prefix}ENDPOINT": variables["S3_ENDPOINT_URL"],
        **{f"{prefix}{name.removeprefix('AWS_')}": variables[name] for name in STATIC_KEYS if name in variables},
    }
    return IcebergSettings.load(variables | found)


async def assert_all_clients_reach(variables: dict[str, str]) -> None:
    """Write with obstore, read with boto3 and Arrow."""
    settings = ObjectStoreSettings.load(variables)
    key, content = f"{uuid.uuid4()}.jpg", b"picture"
    store = ObjectStore(settings)
    await store.put(key, content, "image/jpeg")
    assert await store.read(key) == content
    client = s3.connect(settings, s3.POLLING)
    assert client.get_object(Bucket=settings.s3_bucket_name, Key=key)["Body"].read() == content
    client.close()
    files = LakeFileIO(catalog_properties(iceberg_settings(variables)))
    with files.new_input(f"s3://{settings.s3_bucket_name}/{key}").open() as stream:
        assert stream.read() == content


@contextmanager
def container_role(keys: SessionKeys, token_file: Path) -> Iterator[str]:
    """URL that gives a container the keys of its role, to callers with the token."""
    token_file.write_text("token-of-the-container")
    document = {
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "Token": keys.token,
        "Expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }

    class Role(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == token_file.read_text()
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(orjson.dumps(document) if known else b"{}")

        def log_message(self, format: str, *values: object) -> None:
            """No line for each request."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Role) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/role"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(name="without_keys")
def without_keys_fixture(
    secured_minio: SecuredMinio, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    """Settings without static keys, and a process that finds none."""
    for name in (*STATIC_KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # A process has one environment in its life: Arrow's client looks for the container's role when it is made.
    file_io._connect.cache_clear()
    variables = {**secured_minio.environment(certificates.authority), "S3_CREDENTIALS": "chain"}
    return {name: value for name, value in variables.items() if name not in STATIC_KEYS}


async def test_static_keys_over_https(secured_minio: SecuredMinio, certificates: Certificates) -> None:
    await assert_all_clients_reach(secured_minio.environment(certificates.authority))


async def test_session_keys_of_the_environment(
    secured_minio: SecuredMinio, without_keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = secured_minio.session_keys()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.token)
    await assert_all_clients_reach(without_keys)


async def test_the_role_of_a_container(
    secured_minio: SecuredMinio, without_keys: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    with container_role(secured_minio.session_keys(), token_file) as address:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token_file))
        await assert_all_clients_reach(without_keys)


async def test_another_authority_is_refused(secured_minio: SecuredMinio, certificates: Certificates) -> None:
    settings = ObjectStoreSettings.load(secured_minio.environment(certificates.stranger))
    client = s3.connect(settings, s3.POLLING)
    with pytest.raises(SSLError, match="certificate verify failed"):
        client.list_buckets()
    with pytest.raises(TransientError):
        await ObjectStore(settings).check()
    files = LakeFileIO(catalog_properties(iceberg_settings(secured_minio.environment(certificates.stranger))))
    with pytest.raises(OSError, match=r"(?i)certificate|SSL|curlCode: 60"):
        files.new_input("s3://gourmetgram-images/any").exists()


def test_secrets_are_in_no_text_of_the_settings(secured_minio: SecuredMinio, certificates: Certificates) -> None:
    variables = secured_minio.environment(certificates.authority)
    for settings in (ObjectStoreSettings.load(variables), iceberg_settings(variables)):
        assert variables["AWS_SECRET_ACCESS_KEY"] not in f"{settings} {settings!r}"


def test_a_virtual_style_puts_the_bucket_into_the_host_name() -> None:
    settings = ObjectStoreSettings(
        s3_endpoint_url="https://s3.example", s3_bucket_name="pictures", s3_addressing_style="virtual"
    )
    url = s3.connect(settings, s3.JOB).generate_presigned_url(
        "get_object", Params={"Bucket": "pictures", "Key": "a.jpg"}
    )
    assert url.startswith("https://pictures.s3.example/a.jpg?")
