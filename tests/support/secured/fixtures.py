"""The secured servers as fixtures, each started when the first test of a run asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.settings import LocalSettings
from tests.support.secured.certificates import Certificates
from tests.support.secured.kafka import SecuredKafka
from tests.support.secured.minio import SecuredMinio
from tests.support.secured.platform import SecuredPlatform
from tests.support.secured.postgres import SecuredPostgres
from tests.support.secured.redis import SecuredRedis
from tests.support.secured.running import running


@pytest.fixture(scope="session")
def secured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all secured servers."""
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="session")
def certificates(secured_folder: Path) -> Certificates:
    """The authority of the secured servers, and its certificates."""
    return Certificates(secured_folder)


@pytest.fixture(scope="session")
def secured_kafka(secured_folder: Path, certificates: Certificates) -> Iterator[SecuredKafka]:
    """A running Kafka with a listener for TLS and SASL."""
    layout = Layout("secured-kafka", secured_folder)
    server = SecuredKafka(layout, LocalSettings.load().cache, certificates.server)
    with running(server, secured_folder / "kafka.log"):
        yield server


@pytest.fixture(scope="session")
def secured_redis(secured_folder: Path, certificates: Certificates) -> Iterator[SecuredRedis]:
    """A running Redis with TLS and a user of its own."""
    layout = Layout("secured-redis", secured_folder)
    server = SecuredRedis(layout, LocalSettings.load().cache, certificates.server, certificates.authority)
    with running(server, secured_folder / "redis.log"):
        yield server


@pytest.fixture(scope="session")
def secured_postgres(secured_folder: Path, certificates: Certificates) -> Iterator[SecuredPostgres]:
    """A running PostgreSQL that takes connections over TLS only, with the platform's schema and roles."""
    layout = Layout("secured-postgres", secured_folder)
    server = SecuredPostgres(layout, certificates.server, certificates.authority)
    with server.removed_at_the_end(), running(server, secured_folder / "postgres.log"):
        yield server


@pytest.fixture(scope="session")
def secured_minio(secured_folder: Path, certificates: Certificates) -> Iterator[SecuredMinio]:
    """A running MinIO that speaks https."""
    layout = Layout("secured-minio", secured_folder)
    server = SecuredMinio(layout, LocalSettings.load().cache, certificates.server, certificates.authority)
    with running(server, secured_folder / "minio.log"):
        yield server


@pytest.fixture(scope="session")
def secured_platform(
    secured_kafka: SecuredKafka,
    secured_redis: SecuredRedis,
    secured_postgres: SecuredPostgres,
    secured_minio: SecuredMinio,
    certificates: Certificates,
    secured_folder: Path,
) -> SecuredPlatform:
    """Addresses of all secured servers at once."""
    return SecuredPlatform(secured_kafka, secured_redis, secured_postgres, secured_minio, certificates, secured_folder)
