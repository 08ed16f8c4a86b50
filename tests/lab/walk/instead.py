"""What is checked of the services whose images cannot be had: their configuration, and that what it names is there."""

from typing import Any

import psycopg2
import yaml

from gourmetgram_tools.compose.pages import nimtable_form
from gourmetgram_tools.compose.programs import NIMTABLE_FILE, PROGRAMS, faults_of_nimtable
from gourmetgram_tools.compose.settings import ComposeSettings
from tests.lab import shell
from tests.lab.errors import NotSeenError, expect
from tests.lab.lab import Lab
from tests.lab.places import CHECKOUT
from tests.lab.steps import Stage, Step
from tests.lab.walk.checks import login


def _environment(lab: Lab, service: str, expected: dict[str, str]) -> str:
    found = lab.services[service]["environment"]
    wrong = {name: found.get(name) for name, value in expected.items() if found.get(name) != value}
    expect(not wrong, f"differs: {wrong}")
    faults = PROGRAMS[service].faults(found)
    expect(not faults, " ".join(faults))
    return ", ".join(f"{name}={value}" for name, value in expected.items())


def _reaches(lab: Lab, address: str) -> str:
    """Connect to `host:port` from a container of the lab's network, as the service would."""
    host, _, port = address.partition(":")
    probe = f"import socket; socket.create_connection(({host!r}, {port}), 3).close()"
    command = ["docker", "exec", lab.container("api_v2"), "python", "-c", probe]
    expect(shell.run(command).code == 0, f"{address} does not answer inside the network")
    return f"{address} answers inside the network"


def _console(lab: Lab) -> str:
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
        {
            "RI_REDIS_HOST": "redis",
            "RI_REDIS_PORT": "6379",
            "RI_REDIS_ALIAS": "gourmetgram-redis",
            "RI_ACCEPT_TERMS_AND_CONDITIONS": "true",
        },
    )
    return f"{seen}; {_reaches(lab, 'redis:6379')}"


def _config(lab: Lab) -> dict[str, Any]:
    (mount,) = (volume for volume in lab.services["nimtable"]["volumes"] if volume["target"] == "/nimtable/config.yaml")
    found: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker" / NIMTABLE_FILE).read_text(encoding="utf-8"))
    expect(mount["read_only"], "the configuration is mounted writable")
    faults = faults_of_nimtable(found)
    expect(not faults, " ".join(faults))
    return found


def _nimtable(lab: Lab) -> str:
    content = _config(lab)
    expect(content["server"] == {"port": 8182, "host": "0.0.0.0"}, f"server {content['server']}")
    database = content["database"]
    expect(database["url"] == "jdbc:postgresql://postgres:5432/nimtable", f"database {database['url']}")
    _login(
        "nimtable", database["username"], database["password"], "CREATE TABLE rehearsal (id int); DROP TABLE rehearsal"
    )
    faults = PROGRAMS["nimtable"].faults(lab.services["nimtable"]["environment"])
    expect(not faults, " ".join(faults))
    return "server 0.0.0.0:8182, no unknown key, no registered catalog; its login owns its database"


def _connect_catalog(lab: Lab) -> str:
    form = dict(nimtable_form(ComposeSettings.load(login(lab))))
    jdbc = (form["Advanced settings: jdbc.user"], form["Advanced settings: jdbc.password"])
    _login("iceberg_catalog", *jdbc, "SELECT 1")
    airflow = lab.services["airflow-scheduler"]["environment"]
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    same = {
        "Warehouse": f"{prefix}WAREHOUSE",
        "S3 endpoint": f"{prefix}S3__ENDPOINT",
        "Access key ID": f"{prefix}S3__ACCESS_KEY_ID",
        "Secret access key": f"{prefix}S3__SECRET_ACCESS_KEY",
    }
    wrong = [field for field, variable in same.items() if form[field] != airflow[variable]]
    expect(not wrong, f"differs from PyIceberg's settings: {wrong}")
    return f"{len(form)} values; the database login works; warehouse and S3 are PyIceberg's"


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
        Step("nimtable: docker/nimtable-config.yaml", "only keys that it knows; its login works", _nimtable),
        Step("nimtable: Connect Catalog", "the values of `gourmetgram links` are PyIceberg's", _connect_catalog),
        Step("nimtable-web: variables", "the server's address and login", _nimtable_web),
    ),
)
