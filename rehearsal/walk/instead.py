"""What is checked of the services whose images cannot be had: their configuration, and that what it names is there."""

from typing import Any

import psycopg2
import yaml

from rehearsal import shell
from rehearsal.errors import NotSeenError, expect
from rehearsal.lab import Lab
from rehearsal.places import CHECKOUT
from rehearsal.steps import Stage, Step


def _environment(lab: Lab, service: str, expected: dict[str, str]) -> str:
    found = lab.services[service]["environment"]
    wrong = {name: found.get(name) for name, value in expected.items() if found.get(name) != value}
    expect(not wrong, f"differs: {wrong}")
    return ", ".join(f"{name}={value}" for name, value in expected.items())


def _reaches(lab: Lab, address: str) -> str:
    """Connect to `host:port` from a container of the lab's network, as the service would."""
    host, _, port = address.partition(":")
    probe = f"import socket; socket.create_connection(({host!r}, {port}), 3).close()"
    command = ["docker", "exec", lab.container("api_v2"), "python", "-c", probe]
    expect(shell.run(command).code == 0, f"{address} does not answer inside the network")
    return f"{address} answers inside the network"


def _console(lab: Lab) -> str:
    # Redpanda Console 3 builds a variable's name from the setting's path: kafka.brokers, schemaRegistry.enabled, .urls.
    seen = _environment(
        lab,
        "redpanda-console",
        {
            "KAFKA_BROKERS": "redpanda:9092",
            "SCHEMAREGISTRY_ENABLED": "true",
            "SCHEMAREGISTRY_URLS": "http://redpanda:8081",
        },
    )
    return f"{seen}; {_reaches(lab, 'redpanda:9092')}"


def _insight(lab: Lab) -> str:
    seen = _environment(
        lab,
        "redisinsight",
        {"RI_REDIS_HOST": "redis", "RI_REDIS_PORT": "6379", "RI_REDIS_ALIAS": "gourmetgram-redis"},
    )
    return f"{seen}; {_reaches(lab, 'redis:6379')}"


def _config(lab: Lab) -> dict[str, Any]:
    (mount,) = (volume for volume in lab.services["nimtable"]["volumes"] if volume["target"] == "/nimtable/config.yaml")
    found: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker" / "nimtable-config.yaml").read_text(encoding="utf-8"))
    expect(mount["read_only"], "the configuration is mounted writable")
    return found


def _nimtable(lab: Lab) -> str:
    content = _config(lab)
    expect(content["server"] == {"port": 8182, "host": "0.0.0.0"}, f"server {content['server']}")
    database = content["database"]
    expect(database["url"] == "jdbc:postgresql://postgres:5432/nimtable", f"database {database['url']}")
    _login(
        "nimtable", database["username"], database["password"], "CREATE TABLE rehearsal (id int); DROP TABLE rehearsal"
    )
    (catalog,) = content["catalogs"]
    _login("iceberg_catalog", catalog["jdbc.user"], catalog["jdbc.password"], "SELECT 1")
    airflow = lab.services["airflow-scheduler"]["environment"]
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    same = {
        "warehouse": f"{prefix}WAREHOUSE",
        "s3.endpoint": f"{prefix}S3__ENDPOINT",
        "s3.access-key-id": f"{prefix}S3__ACCESS_KEY_ID",
        "s3.secret-access-key": f"{prefix}S3__SECRET_ACCESS_KEY",
    }
    wrong = [name for name, variable in same.items() if catalog[name] != airflow[variable]]
    expect(not wrong, f"differs from PyIceberg's settings: {wrong}")
    return "server 0.0.0.0:8182; its login owns its database; catalog gourmetgram = PyIceberg's (login, warehouse, S3)"


def _login(database: str, user: str, password: str, statement: str) -> None:
    try:
        connection = psycopg2.connect(
            host="127.0.0.1", dbname=database, user=user, password=password, connect_timeout=5
        )
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise NotSeenError(f"{user} at {database}: {str(error).strip()}") from error


def _nimtable_web(lab: Lab) -> str:
    content = _config(lab)
    login = content["database"]
    return _environment(
        lab,
        "nimtable-web",
        {
            "JAVA_API_URL": "http://nimtable:8182",
            "DATABASE_URL": f"postgresql://{login['username']}:{login['password']}@postgres:5432/nimtable",
            "ADMIN_USERNAME": "admin",
            "ADMIN_PASSWORD": "gourmetgram_nimtable",
        },
    )


STAGE = Stage(
    "instead",
    "Checked instead",
    (
        Step("redpanda-console: variables", "as its documentation names them; the broker is reachable", _console),
        Step("redisinsight: variables", "as its documentation names them; Redis is reachable", _insight),
        Step("nimtable: docker/nimtable-config.yaml", "its logins work; its catalog is PyIceberg's", _nimtable),
        Step("nimtable-web: variables", "the server's address and login", _nimtable_web),
    ),
)
