"""The folder of manifests: two bases (`platform`, `servers`) and two overlays (`trial`, `managed`)."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from gourmetgram_tools.compose.file import unfilled
from gourmetgram_tools.kubernetes import objects
from gourmetgram_tools.kubernetes.objects import NAMESPACE, Object
from gourmetgram_tools.kubernetes.pods import Pods, volume_name
from gourmetgram_tools.kubernetes.variables import SETTINGS, Variables
from gourmetgram_tools.kubernetes.workloads import (
    SERVER_JOBS,
    SERVERS,
    SERVICES,
    SETUP,
    SHARED_VOLUME,
    Workload,
    name_of,
)

_HEAD: Final = (
    "# Made by `gourmetgram kubernetes manifests`: the next run writes it again. Changes belong into an overlay.\n"
)
_OVERLAY_HEAD: Final = "# Yours to change: `gourmetgram kubernetes manifests` leaves an overlay that exists as it is.\n"
_UI: Final = "${UI_BIND"
_IMAGES: Final = "registry.example.com/gourmetgram"
_MANAGED: Final = {
    "POSTGRES_ADDRESS": "postgres.example.com:5432",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092",
    "S3_ENDPOINT_URL": "https://s3.example.com",
    "REDIS_HOST": "redis.example.com",
}
_MANAGED_BLOCK: Final = "10.0.0.0/8"
_MANAGED_PORTS: Final = (5432, 9092, 6379, 443)


def write(folder: Path, compose_file: Path, values: Mapping[str, str]) -> list[str]:
    """Write the manifests.

    Args:
        folder: `platform/` and `servers/` in it are written anew, overlays only when they do not exist.
        compose_file: path of the compose file.
        values: variables of docker/.env.

    Returns:
        Names of the secrets that the pods need; those with a default of "none" are left out.

    Raises:
        OSError: a file cannot be read or written.
    """
    document = unfilled(compose_file)
    services: Mapping[str, Mapping[str, Any]] = document["services"]
    variables = Variables(values)
    pods = Pods(services, variables)
    _write_base(folder / "platform", _platform(pods, services))
    _write_base(folder / "servers", _servers(pods))
    _copy_configurations(folder / "servers", compose_file.parent, document["configs"], services)
    _append_settings(folder / "platform", variables.settings)
    _write_overlays(folder, _own_images(services, variables))
    return sorted(name for name, is_needed in variables.secrets.items() if is_needed)


def _platform(pods: Pods, services: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Object]]:
    files = {"namespace": [objects.namespace()], "setup": [objects.job(pods, "setup", SETUP)]}
    files |= {name_of(each.service): objects.server(pods, each) for each in SERVICES}
    files["api"] = [_alias(services)]
    size = next(each.storage[SHARED_VOLUME] for each in SERVICES if SHARED_VOLUME in each.storage)
    files[name_of(SHARED_VOLUME)] = [objects.shared_claim(size)]
    files["networks"] = [*objects.closed_by_default(), *_networks(pods), *_pages(services, (*SERVICES, *SERVERS))]
    return files


def _servers(pods: Pods) -> dict[str, list[Object]]:
    files = {name_of(each.service): objects.server(pods, each) for each in SERVERS}
    return files | {name_of(each.service): [objects.job(pods, name_of(each.service), [each])] for each in SERVER_JOBS}


def _alias(services: Mapping[str, Mapping[str, Any]]) -> Object:
    """The name under which Compose's other containers reach the API."""
    service = services["api_v2"]
    (alias,) = service["networks"]["servers"]["aliases"]
    port = {"name": "http", "port": 8000}
    selector = {"app.kubernetes.io/name": name_of("api_v2")}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": alias},
        "spec": {"selector": selector, "ports": [port]},
    }


def _networks(pods: Pods) -> list[Object]:
    """A policy for each network with two members or more that no other network has together."""
    workloads = (*SERVICES, *SERVERS, *SETUP, *SERVER_JOBS)
    members: dict[str, frozenset[str]] = {}
    for each in workloads:
        for name in pods.networks_of(each.service):
            members[name] = members.get(name, frozenset()) | {each.service}
    return [
        objects.network(name)
        for name, those in sorted(members.items())
        if len(those) > 1 and not any(those < others for others in members.values())
    ]


def _pages(services: Mapping[str, Mapping[str, Any]], workloads: Iterable[Workload]) -> list[Object]:
    found = []
    for each in workloads:
        published = [
            port.rpartition(":")[2] for port in services[each.service].get("ports", ()) if port.startswith(_UI)
        ]
        if published:
            found.append(objects.page(each, map(int, published)))
    return found


def _own_images(services: Mapping[str, Mapping[str, Any]], variables: Variables) -> list[str]:
    workloads = (*SERVICES, *SETUP, *SERVERS)
    built = (services[each.service] for each in workloads if "build" in services[each.service])
    return sorted({variables.image(service["image"]) for service in built})


def _write_base(folder: Path, files: Mapping[str, list[Object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(_HEAD + _text(*content), encoding="utf-8")
    kustomization = {**_kustomization(f"{name}.yaml" for name in files), "namespace": NAMESPACE}
    (folder / "kustomization.yaml").write_text(_HEAD + _text(kustomization), encoding="utf-8")


def _append_settings(folder: Path, settings: Mapping[str, str]) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in sorted(settings.items()))
    (folder / "settings.env").write_text(_HEAD + lines, encoding="utf-8")
    _generate(folder, [{"name": SETTINGS, "envs": ["settings.env"]}])


def _copy_configurations(
    folder: Path,
    source: Path,
    configs: Mapping[str, Mapping[str, str]],
    services: Mapping[str, Mapping[str, Any]],
) -> None:
    """Put the files that Compose mounts from docker/ into ConfigMaps of the same content."""
    found: dict[str, list[Path]] = {}
    for each in (*SERVERS, *SERVER_JOBS):
        service = services[each.service]
        for mount in service.get("volumes", ()):
            if mount.startswith("./"):
                path = mount.partition(":")[0]
                found[volume_name(path)] = sorted((source / path).iterdir())
        for config in service.get("configs", ()):
            found[config["source"]] = [source / configs[config["source"]]["file"]]
    generators = []
    for name, files in found.items():
        (folder / name).mkdir(exist_ok=True)
        for file in files:
            (folder / name / file.name).write_bytes(file.read_bytes())
        generators.append({"name": name, "files": [f"{name}/{file.name}" for file in files]})
    _generate(folder, generators)


def _generate(folder: Path, generators: list[dict[str, Any]]) -> None:
    with (folder / "kustomization.yaml").open("a", encoding="utf-8") as file:
        file.write(yaml.safe_dump({"configMapGenerator": generators}, sort_keys=False))


def _write_overlays(folder: Path, images: Iterable[str]) -> None:
    renamed = [
        {
            "name": name.partition(":")[0],
            "newName": f"{_IMAGES}/{name.partition(':')[0]}",
            "newTag": name.partition(":")[2],
        }
        for name in images
    ]
    trial = {**_kustomization(["../platform", "../servers"]), "images": renamed}
    merged = {
        "name": SETTINGS,
        "behavior": "merge",
        "literals": [f"{name}={value}" for name, value in _MANAGED.items()],
    }
    managed = {
        **_kustomization(["../platform", "managed-servers.yaml"]),
        "namespace": NAMESPACE,
        "configMapGenerator": [merged],
        "images": [each for each in renamed if not each["name"].endswith("-minio")],
    }
    _write_overlay(folder / "trial", {"kustomization": trial})
    policy = objects.managed_servers("servers", _MANAGED_BLOCK, _MANAGED_PORTS)
    _write_overlay(folder / "managed", {"kustomization": managed, "managed-servers": policy})


def _write_overlay(folder: Path, files: Mapping[str, Object]) -> None:
    if folder.exists():
        return
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(_OVERLAY_HEAD + _text(content), encoding="utf-8")


def _kustomization(resources: Iterable[str]) -> Object:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(resources)}


def _text(*documents: Object) -> str:
    stream = io.StringIO()
    # Without references to equal parts, which readers find hard.
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_arguments: True
    yaml.dump_all(documents, stream, Dumper=dumper, sort_keys=False, width=120)
    return stream.getvalue()
