"""Parts of a stack: its servers and services with their addresses, derived from its port plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gourmetgram import buckets
from gourmetgram.database.roles import Role
from gourmetgram.object_users import ObjectUser, ObjectUserSettings
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.local import minio
from gourmetgram_tools.local.airflow import AIRFLOW, Airflow
from gourmetgram_tools.local.component import Component
from gourmetgram_tools.local.jupyter import JUPYTER, Jupyter
from gourmetgram_tools.local.kafka import Kafka
from gourmetgram_tools.local.layout import Layout, StackPlan
from gourmetgram_tools.local.minio import Minio
from gourmetgram_tools.local.mlflow import ARTIFACTS, MLFLOW, Mlflow
from gourmetgram_tools.local.postgres import Postgres
from gourmetgram_tools.local.redis import Redis
from gourmetgram_tools.local.services import API_SERVICES, SERVICES, WORKERS, Service, service_environment

SERVERS: Final = ("postgres", "redis", "kafka", "minio")
DEFAULT_SERVICES: Final = ("api_v2", *WORKERS)
"""Services that `up` starts beside the servers."""
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {"airflow": AIRFLOW, "jupyter": (JUPYTER,), "mlflow": (MLFLOW,)}
"""Parts that `up --with` adds, by the word of the option. They start when the servers are healthy."""

_ROLES: Final[Mapping[str, Role]] = {
    "api_v1": "gourmetgram_api",
    "api_v2": "gourmetgram_api",
    "stream_consumer": "gourmetgram_consumer",
    "risk_scoring_service": "gourmetgram_scorer",
    "data_generator": "gourmetgram_generator",
    "airflow": "gourmetgram_batch",
    JUPYTER: "gourmetgram_batch",
}
"""Roles in the application's database."""
_OBJECT_USERS: Final[Mapping[str, ObjectUser]] = {
    "api_v1": "gourmetgram_api",
    "api_v2": "gourmetgram_api",
    "risk_scoring_service": "gourmetgram_scorer",
    "data_generator": "gourmetgram_generator",
    "airflow": "gourmetgram_batch",
    JUPYTER: "gourmetgram_jupyter",
    MLFLOW: "gourmetgram_mlflow",
}
"""Users of the object store. Other services do not use it."""
_LAKEHOUSE: Final = ("airflow", JUPYTER)
"""Programs with the role of the Iceberg catalog."""


class Blueprint:
    """Parts of one stack; an instance starts nothing.

    Args:
        layout: paths of the stack.
        plan: ports of the stack.
        cache: folder of programs that are fetched or built once.
    """

    def __init__(self, layout: Layout, plan: StackPlan, cache: Path) -> None:
        self._layout = layout
        self._plan = plan
        ports = plan.ports
        self.postgres = Postgres(layout, ports.postgres)
        self.redis = Redis(layout, ports.redis)
        # Clients go to the address that the broker names, so an address of their own must be its name too.
        overrides = service_environment(None, {}, None, layout.overrides_file)
        advertised = overrides.get("KAFKA_BOOTSTRAP_SERVERS")
        self.kafka = Kafka(layout, ports.kafka, ports.kafka_controller, cache, advertised)
        self.minio = Minio(layout, ports.minio, ports.minio_console, plan.ui_bind, cache)

    @property
    def servers(self) -> tuple[Component, ...]:
        """Servers, in the order of their start."""
        return (self.postgres, self.redis, self.kafka, self.minio)

    def components(self) -> dict[str, Component]:
        """Servers and services by name, in the order of their start."""
        services = (self._service(name) for name in SERVICES)
        airflow = (self._airflow(name) for name in AIRFLOW)
        jupyter = Jupyter(self._layout, self._plan.ports.jupyter, self.environment(JUPYTER))
        late = (*airflow, self._mlflow, jupyter)
        return {component.name: component for component in (*self.servers, *services, *late)}

    @property
    def _mlflow(self) -> Mlflow:
        return Mlflow(
            self._layout,
            self._plan.ports.mlflow,
            database_url=_sqlalchemy(self.postgres.role_url("gourmetgram_mlflow", "mlflow")),
            artifacts=f"s3://{buckets.DATALAKE}/{ARTIFACTS}",
            environment=self.environment(MLFLOW),
        )

    def _service(self, name: str) -> Service:
        environment = self.environment(name)
        if name in API_SERVICES:
            return Service(name, self._plan.ports.api, environment, self._plan.ui_bind)
        return Service(name, getattr(self._plan.ports, name), environment)

    def _airflow(self, name: str) -> Airflow:
        return Airflow(
            name,
            self._layout,
            port=self._plan.ports.airflow,
            health_port=self._plan.ports.airflow_scheduler,
            host=self._plan.ui_bind,
            database_url=_sqlalchemy(self.postgres.role_url("gourmetgram_airflow", "airflow")),
            environment=self.environment("airflow"),
        )

    def environment(self, service: str | None) -> dict[str, str]:
        """Variables of a service; None = those for any other program."""
        health_port = getattr(self._plan.ports, service) if service in WORKERS else None
        addresses = {**self._addresses(), **self._logins(service)}
        return service_environment(service, addresses, health_port, self._layout.overrides_file)

    def _logins(self, service: str | None) -> dict[str, str]:
        """Logins of a service's own; other programs, such as commands, have those of the owner."""
        if service is None:
            return _object_login(minio.USER, minio.PASSWORD)
        found: dict[str, str] = {}
        if user := _OBJECT_USERS.get(service):
            found |= _object_login(user, ObjectUserSettings().secret_key_of(user))
        if role := _ROLES.get(service):
            found["DATABASE_URL"] = self.postgres.role_url(role)
        if service in _LAKEHOUSE:
            catalog = self.postgres.role_url("gourmetgram_iceberg", "iceberg_catalog")
            found["PYICEBERG_CATALOG__GOURMETGRAM__URI"] = _sqlalchemy(catalog)
        return found

    def _addresses(self) -> dict[str, str]:
        topics = KafkaSettings()
        return {
            "DATABASE_URL": self.postgres.url(),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_UPLOADS": topics.kafka_topic_uploads,
            "KAFKA_TOPIC_VIEWS": topics.kafka_topic_views,
            "KAFKA_TOPIC_COMMENTS": topics.kafka_topic_comments,
            "KAFKA_TOPIC_FLAGS": topics.kafka_topic_flags,
            "KAFKA_TOPICS": ",".join(topics.event_topics),
            "MODERATION_TOPIC": topics.moderation_topic,
            "DEAD_LETTER_TOPIC": topics.dead_letter_topic,
            "REDIS_HOST": self.redis.host,
            "REDIS_PORT": str(self._plan.ports.redis),
            "REDIS_DB": "0",
            "AWS_REGION": "us-east-1",
            "S3_ENDPOINT_URL": self.minio.endpoint,
            "S3_BUCKET_NAME": buckets.IMAGES,
            "MODEL_SIGNING_KEYS_FILE": str(self._layout.signing_keys_file),
            "GENERATOR_API_URL": f"http://127.0.0.1:{self._plan.ports.api}",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self._plan.ports.mlflow}",
            # No usage data leaves the machine.
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **self._catalog(),
        }

    def _catalog(self) -> dict[str, str]:
        """Variables from which PyIceberg reads its catalog `gourmetgram`."""
        variables = {
            "TYPE": "sql",
            "URI": _sqlalchemy(self.postgres.url("iceberg_catalog")),
            "S3__ENDPOINT": self.minio.endpoint,
            "WAREHOUSE": f"s3://{buckets.DATALAKE}/warehouse",
        }
        return {f"PYICEBERG_CATALOG__GOURMETGRAM__{name}": value for name, value in variables.items()}


def _object_login(user: str, password: str) -> dict[str, str]:
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__S3__"
    return {
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": password,
        f"{prefix}ACCESS_KEY_ID": user,
        f"{prefix}SECRET_ACCESS_KEY": password,
    }


def _sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://")
