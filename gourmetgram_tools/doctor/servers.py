"""Check of the servers that the settings name: connection, certificate and login, and the variable to change."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import psycopg2
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from redis import AuthenticationError, RedisError

from gourmetgram.clients import redis, s3
from gourmetgram.errors import PlatformError, SettingsError, first_line
from gourmetgram.kafka.clients import client_config
from gourmetgram.lakehouse.catalog import table_versions
from gourmetgram.lakehouse.outages import CatalogLoginError
from gourmetgram.settings import (
    IcebergSettings,
    KafkaSettings,
    ObjectStoreSettings,
    PostgresSettings,
    RedisSettings,
)
from gourmetgram_tools.doctor.findings import Finding, ok, problem
from gourmetgram_tools.doctor.tls import Endpoint, Fault, check_endpoint, speaks_tls

_ANSWER_S: Final = 8
_ICEBERG: Final = "PYICEBERG_CATALOG__GOURMETGRAM__"
_WRONG_KEYS: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId"})


class LoginRefusedError(Exception):
    """The server answers, and refuses the login."""


class Server(NamedTuple):
    """A server as the settings describe it.

    Attributes:
        name: subject of the finding.
        endpoint: address, and how to speak TLS there.
        address: variable with the address.
        authority: variable with the file of the authorities to trust.
        protocol: change of the settings that switches TLS on.
        login: variables of the login.
        log_in: uses the server once, with the platform's own client; raises `LoginRefusedError` or another error.
    """

    name: str
    endpoint: Endpoint
    address: str
    authority: str
    protocol: str
    login: str
    log_in: Callable[[], None]


def check_servers(variables: Mapping[str, str]) -> list[Finding]:
    """Connect to Kafka, Redis, PostgreSQL, the object store and the Iceberg catalog; one finding each.

    Args:
        variables: settings of the services, by their names in the environment.
    """
    try:
        servers = list(_servers(variables))
    except (SettingsError, ValueError) as error:
        return [problem("Settings", str(error), "Correct the variable: docs/managed-servers.md has a list.")]
    with ThreadPoolExecutor(len(servers)) as pool:
        return list(pool.map(_examine, servers))


def _examine(server: Server) -> Finding:
    place = f"{server.endpoint.host}:{server.endpoint.port}"
    if fault := check_endpoint(server.endpoint):
        return problem(server.name, f"{place}: {fault.seen}.", _advice(server, fault))
    try:
        server.log_in()
    except LoginRefusedError as error:
        return problem(
            server.name,
            f"{place}: the server refuses the login ({error}).",
            f"Check {server.login}, and the user's rights.",
        )
    except (OSError, PlatformError, KafkaException, RedisError, psycopg2.Error, BotoCoreError, ClientError) as error:
        if not server.endpoint.tls and speaks_tls(server.endpoint):
            return problem(
                server.name, f"{place}: the server speaks TLS, and the settings do not.", f"Set {server.protocol}."
            )
        return problem(server.name, f"{place}: {_words(error)}", f"Check {server.address} and {server.login}.")
    return ok(server.name, f"{place} answers{', over TLS' if server.endpoint.tls else ''}, and takes the login.")


def _advice(server: Server, fault: Fault) -> str:
    return {
        Fault.UNKNOWN_NAME: f"Correct the host name in {server.address}.",
        Fault.NO_ANSWER: f"Check {server.address}, and whether a firewall is in between.",
        Fault.UNTRUSTED: f"Set {server.authority} to the PEM file of the provider's authority.",
        Fault.NO_SUCH_FILE: f"Correct {server.authority}.",
        Fault.OTHER_NAME: f"Use a name of the certificate in {server.address}.",
        Fault.EXPIRED: "Renew the server's certificate; compare this machine's clock with `date`.",
        Fault.NO_TLS: f"Use the server's TLS port in {server.address}, or settings without TLS.",
    }[fault]


def _servers(variables: Mapping[str, str]) -> Iterator[Server]:
    yield _kafka(KafkaSettings.load(variables))
    yield _redis(RedisSettings.load(variables))
    database = PostgresSettings.load(variables).database_url
    yield _postgres("PostgreSQL", "DATABASE_URL", database, lambda: _log_in_to_postgres(database))
    yield _object_store(ObjectStoreSettings.load(variables))
    yield _catalog(IcebergSettings.load(variables))


def _kafka(settings: KafkaSettings) -> Server:
    host, _, port = settings.kafka_bootstrap_servers.split(",")[0].strip().rpartition(":")
    tls = settings.kafka_security_protocol.endswith("SSL")
    return Server(
        "Kafka",
        Endpoint(host, int(port), tls, settings.kafka_ssl_ca_location),
        *("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SSL_CA_LOCATION", "KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL"),
        "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
        lambda: _log_in_to_kafka(settings),
    )


def _log_in_to_kafka(settings: KafkaSettings) -> None:
    errors: list[KafkaError] = []
    options: dict[str, Any] = {
        **client_config(settings, "gourmetgram-doctor"),
        "log_level": 0,
        "error_cb": errors.append,
    }
    with AdminClient(options) as admin:
        try:
            admin.list_topics(timeout=_ANSWER_S)
        except KafkaException as error:
            # The reason waits for a poll; the error itself says only that there was no answer.
            admin.poll(1)
            for each in errors:
                if each.code() == KafkaError._AUTHENTICATION:
                    raise LoginRefusedError(each.str()) from error
            raise


def _redis(settings: RedisSettings) -> Server:
    return Server(
        "Redis",
        Endpoint(settings.redis_host, settings.redis_port, settings.redis_tls, settings.redis_ca_location),
        *("REDIS_HOST", "REDIS_CA_LOCATION", "REDIS_TLS=true", "REDIS_USERNAME and REDIS_PASSWORD"),
        lambda: _log_in_to_redis(settings),
    )


def _log_in_to_redis(settings: RedisSettings) -> None:
    with redis.connect(settings, redis.WORKER) as client:
        try:
            client.ping()
        except AuthenticationError as error:
            raise LoginRefusedError(_words(error)) from error


def _postgres(name: str, variable: str, url: str, log_in: Callable[[], None]) -> Server:
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    mode, authority = query.get("sslmode", "prefer"), query.get("sslrootcert", "")
    return Server(
        name,
        Endpoint(
            parts.hostname or "localhost",
            parts.port or 5432,
            mode in {"require", "verify-ca", "verify-full"},
            "" if authority == "system" else authority,
            postgres=True,
            checks_certificate=mode.startswith("verify"),
            checks_name=mode == "verify-full",
        ),
        *(
            variable,
            f"sslrootcert in {variable}",
            f"sslmode=verify-full in {variable}",
            f"user and password in {variable}",
        ),
        log_in,
    )


def _log_in_to_postgres(url: str) -> None:
    try:
        with closing(psycopg2.connect(url, connect_timeout=_ANSWER_S)):
            pass
    except psycopg2.OperationalError as error:
        if "authentication failed" in str(error):
            raise LoginRefusedError(_words(error).rpartition("FATAL: ")[2].strip()) from error
        raise


def _object_store(settings: ObjectStoreSettings) -> Server:
    login = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if settings.uses_keys else "the role (S3_CREDENTIALS=chain)"
    return Server(
        "Object store",
        _web_endpoint(settings.s3_endpoint_url, settings.aws_ca_bundle),
        *("S3_ENDPOINT_URL", "AWS_CA_BUNDLE", "https:// in S3_ENDPOINT_URL", login),
        lambda: _log_in_to_s3(settings),
    )


def _log_in_to_s3(settings: ObjectStoreSettings) -> None:
    client = s3.connect(settings, s3.POLLING)
    try:
        client.list_objects_v2(Bucket=settings.s3_bucket_name, MaxKeys=1)
    except ClientError as error:
        if error.response["Error"]["Code"] in _WRONG_KEYS:
            raise LoginRefusedError(error.response["Error"]["Code"]) from error
        raise
    finally:
        client.close()


def _catalog(settings: IcebergSettings) -> Server:
    variable = f"{_ICEBERG}URI"
    if not settings.is_rest:
        return _postgres("Iceberg catalog", variable, settings.uri, lambda: _log_in_to_catalog(settings))
    return Server(
        "Iceberg catalog",
        _web_endpoint(settings.uri, settings.iceberg_ca_location),
        *(variable, "ICEBERG_CA_LOCATION", f"https:// in {variable}"),
        f"{_ICEBERG}CREDENTIAL or {_ICEBERG}TOKEN, and {_ICEBERG}WAREHOUSE",
        lambda: _log_in_to_catalog(settings),
    )


def _log_in_to_catalog(settings: IcebergSettings) -> None:
    try:
        table_versions(settings)
    except CatalogLoginError as error:
        raise LoginRefusedError(_words(error).partition("refuses the login: ")[2]) from error
    except PlatformError as error:
        if "authentication failed" in str(error):
            raise LoginRefusedError("password authentication failed") from error
        raise


def _web_endpoint(url: str, authority: str) -> Endpoint:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Endpoint(parts.hostname or "", parts.port or (443 if tls else 80), tls, authority)


def _words(error: Exception) -> str:
    return first_line(error) or type(error).__name__
