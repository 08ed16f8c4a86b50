"""Typed settings, one class per dependency. Nothing else in the platform reads the environment.

Field names are the environment variables of the lab in lower case. A wrong value raises `SettingsError` with one
sentence per variable, before anything starts.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gourmetgram.errors import SettingsError


class Settings(BaseModel):
    """Base of all settings classes: immutable values, each named like its environment variable in lower case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings; a variable that is absent or empty gets its default.

        Args:
            environment: variables to read instead of the process's own, by their upper-case names.

        Raises:
            SettingsError: a variable is missing or has a value that is not allowed.
        """
        variables = os.environ if environment is None else environment
        names = {name: name.upper() for name in cls.model_fields}
        values = {name: variables[variable] for name, variable in names.items() if variables.get(variable)}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_sentences(error)) from None


def _sentences(error: ValidationError) -> str:
    """One sentence per wrong variable. The value is left out: it may be a password."""
    parts = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        variable = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
        parts.append(f"{variable}: {problem['msg']}.")
    return " ".join(parts)


def split_commas(value: object) -> object:
    """Turn `a, b` into `("a", "b")`; pydantic validates other types."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _known_log_level(value: str) -> str:
    if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("allowed are DEBUG, INFO, WARNING and ERROR")
    return value.upper()


LogLevel = Annotated[str, AfterValidator(_known_log_level)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Secret = Annotated[str, Field(repr=False)]
"""A value that `repr` and `str` of its settings leave out: a password, or an address that contains one."""


class LogSettings(Settings):
    """Logging of a process."""

    log_level: LogLevel = "INFO"


class PostgresSettings(Settings):
    """The application database."""

    database_url: Secret = "postgresql://user:gourmetgram_postgres@localhost:5432/gourmetgram"
    """libpq URL, without a driver name."""

    @property
    def address(self) -> str:
        """Host, port and name of the database, for display."""
        parts = urlsplit(self.database_url)
        return f"{parts.hostname}:{parts.port or 5432}{parts.path}"

    def url(self, driver: str) -> str:
        """Return the SQLAlchemy URL for a driver, e.g. `psycopg2` or `asyncpg`."""
        return f"postgresql+{driver}://" + self.database_url.split("://", 1)[1]


class KafkaSettings(Settings):
    """The broker and the names of the topics."""

    kafka_bootstrap_servers: str = "localhost:9092"
    kafka_topic_uploads: str = "gourmetgram.uploads"
    kafka_topic_views: str = "gourmetgram.views"
    kafka_topic_comments: str = "gourmetgram.comments"
    kafka_topic_flags: str = "gourmetgram.flags"
    moderation_topic: str = "gourmetgram.moderation_requests"
    dead_letter_topic: str = "gourmetgram.dead_letter"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: str = ""
    kafka_sasl_password: Secret = ""
    kafka_ssl_ca_location: str = ""
    """PEM file with the certificates of the authorities to trust; empty = those of the operating system."""
    kafka_compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = "gzip"
    """Compression of written records; clients read all of them, whatever the setting says."""

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs KAFKA_SASL_USERNAME and "
                "KAFKA_SASL_PASSWORD"
            )
        return self

    @property
    def event_topics(self) -> tuple[str, str, str, str]:
        """The four topics of user events: views, comments, uploads, flags."""
        return (
            self.kafka_topic_views,
            self.kafka_topic_comments,
            self.kafka_topic_uploads,
            self.kafka_topic_flags,
        )

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Every topic of the platform."""
        return (*self.event_topics, self.moderation_topic, self.dead_letter_topic)


def redis_address(url: str) -> tuple[str, int, int]:
    """Host, port and number of the database of `redis://host[:port][/db]`.

    Raises:
        ValueError: the URL has another form. A login does not belong there: it would be logged.
    """
    parts = urlsplit(url)
    number = parts.path.strip("/") or "0"
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme != "redis" or not parts.hostname or not number.isdecimal() or not plain:
        raise ValueError("each server is redis://host:port/db, without a login")
    return parts.hostname, parts.port or 6379, int(number)


def _redis_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    if len({redis_address(url) for url in urls}) < len(urls):
        raise ValueError("a server stands there twice")
    return urls


class RedisSettings(Settings):
    """The store of rolling windows."""

    redis_host: str = "localhost"
    redis_port: Port = 6379
    redis_db: Annotated[int, Field(ge=0)] = 0
    redis_username: str = ""
    """User of an access control list; empty = the user `default`."""
    redis_password: Secret = ""
    redis_tls: bool = False
    redis_ca_location: str = ""
    """PEM file with the certificates of the authorities to trust; empty = those of the operating system."""
    redis_urls: Annotated[CommaSeparated, AfterValidator(_redis_urls)] = ()
    """Several servers, `redis://host:port/db` each, by partition number; empty = the one server above. Login
    and TLS are those above for all of them."""

    def redis_servers(self) -> tuple[Self, ...]:
        """Settings of each server, in their order."""
        if not self.redis_urls:
            return (self,)
        names = ("redis_host", "redis_port", "redis_db")
        addresses = (dict(zip(names, redis_address(url), strict=True)) for url in self.redis_urls)
        return tuple(self.model_copy(update={**address, "redis_urls": ()}) for address in addresses)

    @property
    def redis_addresses(self) -> str:
        """All servers as `host:port/db`, for display."""
        return ", ".join(f"{each.redis_host}:{each.redis_port}/{each.redis_db}" for each in self.redis_servers())


class S3AccessSettings(Settings):
    """Access to an S3-compatible object store, for files and for tables."""

    aws_region: str = "us-east-1"
    """Set here, so that no client asks for it over the network (about 7 s per table)."""
    aws_ca_bundle: str = ""
    """PEM file with the certificates of the authorities to trust; empty = those of the operating system."""
    s3_addressing_style: Literal["path", "virtual"] = "path"
    """Bucket in the path of a URL or in its host name. MinIO has one host name for all buckets."""
    s3_credentials: Literal["keys", "chain"] = "keys"
    """`keys`: the static keys of the settings. `chain`: the default chain of AWS's libraries: session tokens, a web
    identity's role, the role of a container or of a machine; the static keys of the settings do not count then."""

    @property
    def uses_keys(self) -> bool:
        """True when the login is the static keys of the settings."""
        return self.s3_credentials == "keys"


class ObjectStoreSettings(S3AccessSettings):
    """The S3-compatible object store."""

    aws_access_key_id: str = "admin"
    aws_secret_access_key: Secret = "gourmetgram_minio"  # noqa: S105 - the lab's published teaching password
    s3_endpoint_url: str = "http://localhost:9000"
    s3_bucket_name: str = "gourmetgram-images"


class IcebergSettings(S3AccessSettings):
    """The Iceberg catalog `gourmetgram` and its warehouse: PyIceberg's own variables, and the platform's."""

    pyiceberg_catalog__gourmetgram__type: Literal["sql", "rest"] = "sql"
    """`sql`: tables of a PostgreSQL database. `rest`: a server of Iceberg's REST catalogs."""
    pyiceberg_catalog__gourmetgram__uri: Secret = (
        "postgresql+psycopg2://user:gourmetgram_postgres@localhost:5432/iceberg_catalog"
    )
    pyiceberg_catalog__gourmetgram__credential: Secret = ""
    """Login of a REST catalog, `client id:secret`; the catalog exchanges it for a token."""
    pyiceberg_catalog__gourmetgram__token: Secret = ""
    """Token of a REST catalog, instead of a login."""
    pyiceberg_catalog__gourmetgram__oauth2_server_uri: str = ""
    """Address that exchanges the login of a REST catalog; empty = the catalog's own."""
    pyiceberg_catalog__gourmetgram__scope: str = "catalog"
    """Scope of the token that a login is exchanged for."""
    iceberg_ca_location: str = ""
    """PEM file of the authorities to trust for a REST catalog; empty = those of the operating system."""
    pyiceberg_catalog__gourmetgram__s3__endpoint: str = "http://localhost:9000"
    pyiceberg_catalog__gourmetgram__s3__access_key_id: str = "admin"
    pyiceberg_catalog__gourmetgram__s3__secret_access_key: Secret = "gourmetgram_minio"  # noqa: S105 - teaching password
    pyiceberg_catalog__gourmetgram__warehouse: str = "s3://gourmetgram-datalake/warehouse"
    """Folder of the tables, `s3://bucket/folder`; or a REST catalog's name for it."""
    lake_location: str = ""
    """Folder of the tables, `s3://bucket/folder`, where the warehouse is a name."""
    lake_retention_days: Annotated[int, Field(ge=31)] = 400
    """Age at which a day leaves `events` and the window tables, days. More than the 30 days of the topics."""

    @model_validator(mode="after")
    def _addresses_fit(self) -> Self:
        name = "PYICEBERG_CATALOG__GOURMETGRAM__"
        if self.is_rest and not self.uri.startswith(("http://", "https://")):
            raise ValueError(f"{name}TYPE=rest needs an address with http:// or https:// in {name}URI")
        if not self.warehouse_location.startswith("s3://"):
            raise ValueError(f"LAKE_LOCATION is needed, s3://bucket/folder: the value of {name}WAREHOUSE is a name")
        return self

    @property
    def is_rest(self) -> bool:
        """True for a REST catalog."""
        return self.pyiceberg_catalog__gourmetgram__type == "rest"

    @property
    def uri(self) -> str:
        """SQLAlchemy URL of the catalog's database, or URL of a REST catalog."""
        return self.pyiceberg_catalog__gourmetgram__uri

    @property
    def s3_endpoint(self) -> str:
        """URL of the object store."""
        return self.pyiceberg_catalog__gourmetgram__s3__endpoint

    @property
    def s3_access_key_id(self) -> str:
        """Login of the object store."""
        return self.pyiceberg_catalog__gourmetgram__s3__access_key_id

    @property
    def s3_secret_access_key(self) -> str:
        """Password of the object store."""
        return self.pyiceberg_catalog__gourmetgram__s3__secret_access_key

    @property
    def s3_region(self) -> str:
        """Region of the object store."""
        return self.aws_region

    @property
    def object_store(self) -> ObjectStoreSettings:
        """The same object store, as settings of S3 clients."""
        return ObjectStoreSettings(
            s3_endpoint_url=self.s3_endpoint,
            aws_access_key_id=self.s3_access_key_id,
            aws_secret_access_key=self.s3_secret_access_key,
            **{name: getattr(self, name) for name in S3AccessSettings.model_fields},
        )

    @property
    def warehouse(self) -> str:
        """The warehouse as the catalog knows it: a folder, or a name; without a slash at the end."""
        return self.pyiceberg_catalog__gourmetgram__warehouse.rstrip("/")

    @property
    def warehouse_location(self) -> str:
        """Folder of the tables: `s3://bucket/folder`, without a slash at the end."""
        return self.lake_location.rstrip("/") or self.warehouse


class OfflineSettings(Settings):
    """The engine that aggregates events, and computes training rows, windows, skew and counts of the lakehouse."""

    offline_engine: Literal["duckdb", "spark"] = "duckdb"
    spark_remote: Annotated[str, Field(pattern=r"^(sc://.+)?$")] = ""
    """Address of a Spark Connect server, `sc://host:port`; empty = one is started for the time of the work."""
    spark_master: str = "local[*]"
    """Master of a Spark server that is started here: `local[*]`, or the address of a cluster."""
    spark_home: str = ""
    """Folder of Apache Spark; empty = that of `make setup-spark`."""


class WorkerSettings(Settings):
    """The HTTP port on which a worker answers `/health` and `/metrics`."""

    health_host: str = "0.0.0.0"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0


class DagSettings(Settings):
    """Limits of Airflow's tasks."""

    dag_task_timeout_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """Longest run of a task, minutes; then it fails, and its retries follow."""


PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""Folder that contains this package: the root of a checkout, with docker/init_sql."""


def process_environment() -> dict[str, str]:
    """Copy of the process's environment, to start other programs or to run `Settings.load` on a changed copy."""
    return dict(os.environ)


def pass_to_children(variables: Mapping[str, str]) -> None:
    """Set variables for libraries, here and in the programs that this process starts."""
    os.environ.update(variables)
