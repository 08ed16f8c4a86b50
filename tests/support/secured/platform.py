"""A whole platform on secured servers: TLS and a login at each of them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gourmetgram.database.roles import Role
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings
from gourmetgram.topics import ensure_topics
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.local.ports import choose_free
from gourmetgram_tools.local.services import Service
from tests.support.secured.certificates import Certificates
from tests.support.secured.kafka import SecuredKafka
from tests.support.secured.minio import SecuredMinio
from tests.support.secured.postgres import SecuredPostgres
from tests.support.secured.redis import SecuredRedis
from tests.support.secured.running import running
from tests.support.topic_variables import TOPIC_VARIABLES

_ROLES: Mapping[str, Role] = {
    "api_v2": "gourmetgram_api",
    "stream_consumer": "gourmetgram_consumer",
    "risk_scoring_service": "gourmetgram_scorer",
}
_OWN: Mapping[str, Mapping[str, str]] = {
    "api_v2": {},
    "stream_consumer": {"KAFKA_CONSUMER_GROUP": "secured-consumer"},
    "risk_scoring_service": {"KAFKA_CONSUMER_GROUP": "secured-scorer"},
}


class SecuredPlatform:
    """Addresses of the secured servers, and services that use them.

    Args:
        kafka, redis, postgres, minio: running servers.
        certificates: authority of all of them.
        folder: folder of logs and keys.
    """

    def __init__(
        self,
        kafka: SecuredKafka,
        redis: SecuredRedis,
        postgres: SecuredPostgres,
        minio: SecuredMinio,
        certificates: Certificates,
        folder: Path,
    ) -> None:
        self._postgres = postgres
        self._folder = folder
        self._ports = choose_free()
        self.addresses = {
            **kafka.environment(certificates.authority),
            **redis.environment(certificates.authority),
            **minio.environment(certificates.authority),
            **postgres.environment(),
            **lake_environment(minio, postgres.role_url("gourmetgram_iceberg", "iceberg_catalog")),
            # Other tests of the same broker write events of unknown images into the lab's topics.
            **{variable: f"platform.{kind}s" for kind, variable in TOPIC_VARIABLES.items()},
            "GENERATOR_API_URL": f"http://127.0.0.1:{self._ports.api}",
        }

    def environment(self, service: str) -> dict[str, str]:
        """Variables of a service, with the login of its role."""
        return {
            **self.addresses,
            **_OWN[service],
            "DATABASE_URL": self._postgres.role_url(_ROLES[service]),
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(getattr(self._ports, service, 0)),
        }

    @property
    def platform(self) -> Platform:
        """The same platform, as the tools see it."""
        return Platform.from_environment(self.addresses, _OWN["stream_consumer"], _OWN["risk_scoring_service"])

    @property
    def batch(self) -> Mapping[str, str]:
        """Variables of the batch jobs, with the login of their role."""
        return {**self.addresses, "DATABASE_URL": self._postgres.role_url("gourmetgram_batch")}

    def log_of(self, service: str) -> Path:
        """File with the output of a service."""
        return self._folder / f"{service}.log"

    @contextmanager
    def services(self) -> Iterator[None]:
        """Run API, consumer and scorer until the end of the block, with topics of their own."""
        ensure_topics(KafkaSettings.load(self.addresses))
        with ExitStack() as open_services:
            for name in _ROLES:
                port = self._ports.api if name == "api_v2" else getattr(self._ports, name)
                service = Service(name, port, {**self.environment(name), "PYTHONPATH": str(PROJECT_ROOT)})
                open_services.enter_context(running(service, self.log_of(name)))
            yield


def lake_environment(minio: SecuredMinio, catalog_url: str) -> dict[str, str]:
    """Variables of the Iceberg catalog in PostgreSQL.

    Args:
        minio: store of the warehouse.
        catalog_url: libpq URL of the catalog's database.
    """
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    keys = minio.environment(Path())
    return {
        f"{prefix}TYPE": "sql",
        f"{prefix}URI": catalog_url.replace("postgresql://", "postgresql+psycopg2://"),
        f"{prefix}S3__ENDPOINT": minio.endpoint,
        f"{prefix}S3__ACCESS_KEY_ID": keys["AWS_ACCESS_KEY_ID"],
        f"{prefix}S3__SECRET_ACCESS_KEY": keys["AWS_SECRET_ACCESS_KEY"],
        f"{prefix}WAREHOUSE": "s3://gourmetgram-datalake/warehouse",
    }
