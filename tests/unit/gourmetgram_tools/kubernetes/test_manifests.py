"""Rules that the manifests keep, whatever the compose file holds."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gourmetgram_tools.compose.commands import COMPOSE_FILE
from gourmetgram_tools.compose.file import VARIABLE, services_of
from gourmetgram_tools.kubernetes.manifests import write
from gourmetgram_tools.kubernetes.variables import is_secret
from gourmetgram_tools.kubernetes.workloads import SERVER_JOBS, SERVERS, SERVICES, SETUP, name_of
from tests.support.compose import example_variables

VERSION = "1.36"
SERVICES_OF_COMPOSE = services_of(COMPOSE_FILE)
LEFT_OUT = {
    *("api_v1", "extract-data", "transform-data", "data_generator", "jupyter"),
    *("adminer", "redpanda-console", "redisinsight", "nimtable", "nimtable-web"),
    "model-keys",  # the keys are a Secret
}


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    write(folder, COMPOSE_FILE, {})
    return folder


@pytest.fixture(name="objects", scope="module")
def objects_fixture(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    files = [file for base in ("platform", "servers") for file in sorted((folder / base).glob("*.yaml"))]
    return {(each["kind"], each["metadata"]["name"]): each for each in _documents(files)}


@pytest.fixture(name="pods", scope="module")
def pods_fixture(objects: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"] for each in objects.values() if "template" in each.get("spec", {})]


def _documents(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text())


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def _container(pods: list[dict[str, Any]], service: str) -> dict[str, Any]:
    return next(each for pod in pods for each in _containers(pod) if each["name"] == name_of(service))


def test_each_service_of_compose_is_a_workload_or_left_out_on_purpose(pods: list[dict[str, Any]]) -> None:
    workloads = [each.service for each in (*SERVICES, *SERVERS, *SETUP, *SERVER_JOBS)]
    assert {*workloads, *LEFT_OUT} == SERVICES_OF_COMPOSE.keys()
    made = [each["name"] for pod in pods for each in _containers(pod)]
    assert sorted(made) == sorted(map(name_of, workloads))


def test_every_object_follows_the_schema_of_its_kind(folder: Path) -> None:
    found = list(_documents(sorted(folder.glob("*/*.yaml"))))
    assert len(found) > 30
    for each in found:
        kubernetes_validate.validate(each, VERSION, strict=True)


def test_no_secret_s_value_is_in_a_manifest(tmp_path: Path) -> None:
    secrets = {name: f"secret-of-{name.lower()}" for name in example_variables() if is_secret(name)}
    assert len(secrets) > 12
    write(tmp_path, COMPOSE_FILE, {**secrets, "LOG_LEVEL": "DEBUG"})
    texts = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert [path.name for path, text in texts.items() if "secret-of-" in text] == []
    assert "LOG_LEVEL=DEBUG\n" in (tmp_path / "platform" / "settings.env").read_text()
    # The published passwords of Compose's defaults neither.
    published = {match[2] for match in VARIABLE.finditer(COMPOSE_FILE.read_text()) if is_secret(match[1]) and match[2]}
    entries = [entry for text in texts.values() for entry in _entries(text) if "value" in entry]
    # Some services' user in the object store is called like the published password of their database.
    values = {entry["value"] for entry in entries if not entry["name"].endswith("ACCESS_KEY_ID")}
    assert not [value for value in values if re.search(rf":({'|'.join(published)})@", value) or value in published]


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for each in yaml.safe_load_all(text) if text.startswith("# Made by") and "\nkind: " in text else ():
        for container in _containers(each["spec"]["template"]) if "template" in each.get("spec", {}) else ():
            yield from container.get("env", ())


@pytest.mark.parametrize("service", [each.service for each in (*SERVICES, *SERVERS, *SETUP, *SERVER_JOBS)])
def test_a_container_gets_compose_s_variables(service: str, folder: Path, pods: list[dict[str, Any]]) -> None:
    """Resolved as Kubernetes does it, each variable has the value that it has on Compose."""
    settings = dict(line.split("=", 1) for line in (folder / "platform" / "settings.env").read_text().splitlines()[1:])
    defaults = {match[1]: match[2] or "" for match in VARIABLE.finditer(COMPOSE_FILE.read_text())}
    resolved: dict[str, str] = {}
    for entry in _container(pods, service).get("env", ()):
        source = entry.get("valueFrom", {})
        key = next((each["key"] for each in source.values()), "")
        value = entry.get("value", settings.get(key, defaults.get(key)))
        resolved[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: resolved[match[1]], value)
    wanted = {name: str(value) for name, value in SERVICES_OF_COMPOSE[service].get("environment", {}).items()}
    assert {name: resolved.get(name) for name in wanted} == wanted


def test_no_container_has_rights_or_a_place_to_write_beside_its_volumes(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for each in _containers(pod):
            rights = each["securityContext"]
            assert rights["runAsUser"] > 0
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["readOnlyRootFilesystem"] is not each["name"].startswith("redpanda")
            mounted = {mount["name"] for mount in each.get("volumeMounts", ())}
            assert mounted <= {volume["name"] for volume in spec.get("volumes", ())} | _claims(each["name"])


def _claims(name: str) -> set[str]:
    return {name_of(volume) for each in SERVERS if name_of(each.service) == name for volume in each.storage}


def test_memory_and_time_to_stop_are_compose_s(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        main = pod["spec"]["containers"][0]
        service = next(each for each in SERVICES_OF_COMPOSE if name_of(each) == main["name"])
        grace = SERVICES_OF_COMPOSE[service].get("stop_grace_period", "10s")
        assert f"{pod['spec']['terminationGracePeriodSeconds']}s" == grace
        for each in _containers(pod):
            limit = SERVICES_OF_COMPOSE[next(s for s in SERVICES_OF_COMPOSE if name_of(s) == each["name"])]["mem_limit"]
            mebibytes = int(limit[:-1]) * (1024 if limit.endswith("g") else 1)
            assert each["resources"]["limits"]["memory"] == each["resources"]["requests"]["memory"] == f"{mebibytes}Mi"
            assert each["resources"]["requests"]["cpu"] == "250m"


@pytest.mark.parametrize(
    ("service", "port", "ready", "alive"),
    [
        ("api_v2", 8000, "/health", "/metrics"),
        ("stream_consumer", 9101, "/health", "/metrics"),
        ("risk_scoring_service", 9102, "/health", "/metrics"),
        ("mlflow", 5000, "/health", "/health"),
        ("airflow-webserver", 8080, "/api/v2/monitor/health", None),
        ("airflow-scheduler", 8974, "/health", None),
    ],
)
def test_probes_ask_the_health_addresses(
    pods: list[dict[str, Any]], service: str, port: int, ready: str, alive: str | None
) -> None:
    container = _container(pods, service)
    asked = container["readinessProbe"]["httpGet"]
    assert (asked["port"], asked["path"]) == (port, ready)
    assert asked["httpHeaders"] == [{"name": "Host", "value": f"localhost:{port}"}]
    for probe in ("startupProbe", "livenessProbe"):
        assert container.get(probe, {}).get("httpGet", {}).get("path") == alive


def test_commands_of_probes_need_no_variables_of_compose(pods: list[dict[str, Any]]) -> None:
    (*shell, command) = _container(pods, "postgres")["readinessProbe"]["exec"]["command"]
    assert shell == ["sh", "-c"]
    assert command == 'pg_isready -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB"'
    commands = [
        each["readinessProbe"].get("exec") for pod in pods for each in _containers(pod) if "readinessProbe" in each
    ]
    assert not [each for each in commands if each and "${" in str(each)]


def test_jobs_run_in_the_order_of_their_dependencies(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    order = [each["name"] for each in _containers(objects["Job", "setup"]["spec"]["template"])]
    for position, name in enumerate(order):
        needs = SERVICES_OF_COMPOSE[name].get("depends_on", {})
        assert {each for each in needs if each in map(name_of, (job.service for job in SETUP))} <= set(order[:position])


def test_services_with_several_pods_keep_one_while_nodes_are_drained(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    several = {name for (_kind, name), each in objects.items() if each.get("spec", {}).get("replicas", 1) > 1}
    budgets = {name for kind, name in objects if kind == "PodDisruptionBudget"}
    assert budgets == several == {"api-v2", "stream-consumer", "risk-scoring-service"}


def test_pods_reach_each_other_as_the_networks_of_compose_say(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    policies = {name: each["spec"] for (kind, name), each in objects.items() if kind == "NetworkPolicy"}
    assert policies["closed"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    label = {"podSelector": {"matchLabels": {"gourmetgram.network/servers": "true"}}}
    assert policies["network-servers"]["ingress"] == [{"from": [label]}]
    assert policies["network-servers"]["egress"] == [{"to": [label]}]
    pages = {
        name: rule["ports"][0]["port"]
        for name, each in policies.items()
        for rule in each.get("ingress", ())
        if "ports" in rule
    }
    assert pages == {"page-api-v2": 8000, "page-airflow-webserver": 8080, "page-minio": 9001}
    assert policies.keys() == {"closed", "names", "network-servers", *pages}


def test_each_address_in_a_variable_has_a_service_with_that_port(
    objects: dict[tuple[str, str], dict[str, Any]], pods: list[dict[str, Any]], folder: Path
) -> None:
    ports = {
        name: {port["port"] for port in each["spec"]["ports"]}
        for (kind, name), each in objects.items()
        if kind == "Service"
    }
    settings = (folder / "platform" / "settings.env").read_text()
    values = [entry.get("value", "") for pod in pods for each in _containers(pod) for entry in each.get("env", ())]
    named = set(re.findall(r"(?:^|@|//|=)([a-z][\w-]*):(\d+)", "\n".join([settings, *values]), re.MULTILINE))
    assert {host for host, _port in named} == {"postgres", "minio", "redpanda", "airflow-webserver", "mlflow"}
    assert [(host, port) for host, port in named if int(port) not in ports[host]] == []
    assert ports["redis"] == {6379}


def test_an_overlay_that_exists_stays_and_bases_are_written_again(tmp_path: Path) -> None:
    write(tmp_path, COMPOSE_FILE, {})
    for name in ("managed", "platform"):
        (tmp_path / name / "kustomization.yaml").write_text("changed")
    write(tmp_path, COMPOSE_FILE, {})
    assert (tmp_path / "managed" / "kustomization.yaml").read_text() == "changed"
    assert (tmp_path / "platform" / "kustomization.yaml").read_text() != "changed"
