"""The doctor names what is wrong between the settings and servers with TLS and logins, and the variable to change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gourmetgram_tools.cli.main import app
from gourmetgram_tools.doctor.findings import Finding, Level
from gourmetgram_tools.doctor.servers import check_servers
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.settings import LocalSettings
from tests.support.secured import kafka, redis
from tests.support.secured.certificates import Certificate, Certificates
from tests.support.secured.platform import SecuredPlatform
from tests.support.secured.redis import SecuredRedis
from tests.support.secured.running import running

pytestmark = pytest.mark.servers

URI = "PYICEBERG_CATALOG__GOURMETGRAM__URI"
SECRETS = (kafka.PASSWORD, redis.PASSWORD, "gourmetgram_postgres", "gourmetgram_minio", "gourmetgram_iceberg:")


def found(variables: dict[str, str], name: str) -> Finding:
    """Finding about a server; the other servers have no problem, and no text has a secret."""
    findings = {each.check: each for each in check_servers(variables)}
    assert not any(secret in str(findings) for secret in SECRETS)
    assert [each for each in findings.values() if each.level is Level.PROBLEM and each.check != name] == []
    return findings[name]


def test_nothing_is_wrong_with_right_settings(
    secured_platform: SecuredPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = check_servers(secured_platform.addresses)
    assert [each.level for each in findings] == [Level.OK] * 5, findings
    assert all("over TLS" in each.seen for each in findings)
    for name, value in secured_platform.addresses.items():
        monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(app, ["doctor", "--servers"])
    assert answer.exit_code == 0, answer.output


# Server, change of the settings (a variable, a text in it, its replacement), words seen, variable of the advice.
WRONG = [
    ("Kafka", "KAFKA_SASL_PASSWORD", "", "another", "refuses the login", "KAFKA_SASL_PASSWORD"),
    ("Kafka", "KAFKA_SECURITY_PROTOCOL", "", "PLAINTEXT", "speaks TLS", "KAFKA_SECURITY_PROTOCOL"),
    ("Kafka", "KAFKA_SSL_CA_LOCATION", "ca.pem", "stranger.pem", "not trusted", "KAFKA_SSL_CA_LOCATION"),
    ("Kafka", "KAFKA_SSL_CA_LOCATION", "ca.pem", "absent.pem", "cannot be read", "KAFKA_SSL_CA_LOCATION"),
    ("Redis", "REDIS_PASSWORD", "", "another", "refuses the login", "REDIS_PASSWORD"),
    ("Redis", "REDIS_TLS", "", "false", "speaks TLS", "REDIS_TLS=true"),
    ("Redis", "REDIS_CA_LOCATION", "ca.pem", "stranger.pem", "not trusted", "REDIS_CA_LOCATION"),
    ("Redis", "REDIS_PORT", "", "1", "no program accepts", "REDIS_HOST"),
    ("Redis", "REDIS_HOST", "", "no-such-host.invalid", "not known", "REDIS_HOST"),
    ("PostgreSQL", "DATABASE_URL", "gourmetgram_postgres@", "another@", "refuses the login", "DATABASE_URL"),
    ("PostgreSQL", "DATABASE_URL", "ca.pem", "stranger.pem", "not trusted", "sslrootcert in DATABASE_URL"),
    ("PostgreSQL", "DATABASE_URL", "verify-full", "disable", "speaks TLS", "sslmode=verify-full"),
    ("Object store", "AWS_SECRET_ACCESS_KEY", "", "another-key", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
    ("Object store", "AWS_CA_BUNDLE", "ca.pem", "stranger.pem", "not trusted", "AWS_CA_BUNDLE"),
    ("Object store", "S3_ENDPOINT_URL", "https", "http", "speaks TLS", "https:// in S3_ENDPOINT_URL"),
    ("Iceberg catalog", URI, "gourmetgram_iceberg@", "another@", "refuses the login", URI),
    ("Iceberg catalog", URI, "ca.pem", "stranger.pem", "not trusted", URI),
]


@pytest.mark.parametrize(("name", "variable", "old", "new", "seen", "advice"), WRONG)
def test_a_wrong_setting_is_named(
    secured_platform: SecuredPlatform, name: str, variable: str, old: str, new: str, seen: str, advice: str
) -> None:
    variables = dict(secured_platform.addresses)
    variables[variable] = variables[variable].replace(old, new) if old else new
    finding = found(variables, name)
    assert finding.level is Level.PROBLEM
    assert seen in finding.seen
    assert advice in finding.advice


def test_tls_to_a_port_without_it_is_named(secured_platform: SecuredPlatform, kafka_bootstrap: str) -> None:
    finding = found({**secured_platform.addresses, "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap}, "Kafka")
    assert "the server does not on this port" in finding.seen
    assert "KAFKA_BOOTSTRAP_SERVERS" in finding.advice


@pytest.fixture(name="wrong_redis", params=["misnamed", "expired"])
def wrong_redis_fixture(
    request: pytest.FixtureRequest, certificates: Certificates, tmp_path: Path
) -> Iterator[tuple[str, SecuredRedis]]:
    """A Redis with a certificate of another host, or of another day."""
    certificate: Certificate = getattr(certificates, request.param)
    cache = LocalSettings.load().cache
    server = SecuredRedis(Layout("wrong-redis", tmp_path), cache, certificate, certificates.authority, checks=False)
    with running(server, tmp_path / "redis.log"):
        yield request.param, server


def test_a_wrong_certificate_is_named(secured_platform: SecuredPlatform, wrong_redis: tuple[str, SecuredRedis]) -> None:
    kind, server = wrong_redis
    finding = found({**secured_platform.addresses, "REDIS_PORT": str(server.port)}, "Redis")
    seen, advice = {"misnamed": ("another host name", "REDIS_HOST"), "expired": ("has expired", "clock")}[kind]
    assert seen in finding.seen
    assert advice in finding.advice


def test_a_wrong_value_is_named() -> None:
    (finding,) = check_servers({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})
    assert "KAFKA_SASL_USERNAME" in finding.seen
