"""The manifests on a real Kubernetes API server. `make kubernetes` compiles it and runs this file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gourmetgram_tools.compose.commands import COMPOSE_FILE
from gourmetgram_tools.kubernetes.manifests import write
from tests.support.kubernetes.control_plane import Cluster, running
from tests.support.kubernetes.programs import folder

pytestmark = pytest.mark.skipif(not folder().exists(), reason="`make kubernetes` compiles Kubernetes first")

KINDS = "deployments,statefulsets,jobs"


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("kubernetes")) as cluster:
        yield cluster


@pytest.fixture(name="manifests")
def manifests_fixture(tmp_path: Path) -> Path:
    write(tmp_path, COMPOSE_FILE, {})
    return tmp_path


@pytest.fixture(name="deployed", params=["trial", "managed"])
def deployed_fixture(cluster: Cluster, manifests: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    overlay: str = request.param
    done = cluster.run("apply", "--validate=strict", "-k", str(manifests / overlay))
    assert done.returncode == 0, done.stderr
    # The profile `restricted` warns of each pod that it would refuse.
    assert done.stderr == ""
    yield overlay
    # Namespace and claims would wait for ever for controllers, which do not run.
    cluster.run("-n", "gourmetgram", "delete", KINDS, "--all", "--wait=false")
    cluster.run("-n", "gourmetgram", "delete", "configmaps,services,networkpolicies,poddisruptionbudgets", "--all")


def _pods(cluster: Cluster) -> list[dict[str, Any]]:
    """Pods as the controllers would make them."""
    pods = []
    for each in cluster.objects(KINDS):
        template, name = each["spec"]["template"], each["metadata"]["name"]
        claims = [claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())]
        for claim in claims:
            volume = {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}-0"}}
            template["spec"].setdefault("volumes", []).append(volume)
        metadata = {**template["metadata"], "name": f"{name}-0", "namespace": "gourmetgram"}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return pods


def test_the_server_takes_every_object_and_its_policy_takes_every_pod(cluster: Cluster, deployed: str) -> None:
    pods = _pods(cluster)
    assert len(pods) == (13 if deployed == "trial" else 8)
    done = cluster.run("apply", "--dry-run=server", "-f", "-", given=yaml.safe_dump_all(pods))
    assert (done.returncode, done.stderr) == (0, "")


def test_references_to_configuration_follow_its_generated_names(cluster: Cluster, deployed: str) -> None:
    stored = {each["metadata"]["name"]: each["data"] for each in cluster.objects("configmaps")}
    wanted = {
        (entry["valueFrom"]["configMapKeyRef"]["name"], entry["valueFrom"]["configMapKeyRef"]["key"])
        for pod in _pods(cluster)
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
        for entry in container.get("env", ())
        if "configMapKeyRef" in entry.get("valueFrom", {})
    }
    assert len(wanted) > 20
    assert [pair for pair in wanted if pair[1] not in stored.get(pair[0], {})] == []
    (settings,) = {name for name, _key in wanted}
    address = "redpanda:9092" if deployed == "trial" else "kafka.example.com:9092"
    assert stored[settings]["KAFKA_BOOTSTRAP_SERVERS"] == address


def test_a_pod_that_gives_up_no_rights_is_refused(cluster: Cluster, manifests: Path) -> None:
    cluster.run("apply", "-f", str(manifests / "platform" / "namespace.yaml"))
    pod = {"containers": [{"name": "root", "image": "image"}]}
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": pod})
    done = cluster.run("-n", "gourmetgram", "apply", "-f", "-", given=text)
    assert done.returncode == 1
    assert 'violates PodSecurity "restricted:latest"' in done.stderr


def test_a_wrong_field_is_refused(cluster: Cluster, manifests: Path) -> None:
    file = manifests / "platform" / "api-v2.yaml"
    file.write_text(file.read_text().replace("readinessProbe:", "readynessProbe:"))
    done = cluster.run("apply", "--validate=strict", "--dry-run=server", "-k", str(manifests / "platform"))
    assert done.returncode == 1
    assert 'unknown field "spec.template.spec.containers[0].readynessProbe"' in done.stderr
