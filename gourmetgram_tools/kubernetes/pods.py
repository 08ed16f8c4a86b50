"""Pods from services of the compose file: containers, volumes, rights."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from gourmetgram_tools.kubernetes.probes import probes_of, seconds
from gourmetgram_tools.kubernetes.variables import Variables
from gourmetgram_tools.kubernetes.workloads import SECRET_VOLUMES, SHARED_VOLUME, Workload, name_of

CONNECTIONS: Final = "gourmetgram-connections"
"""Optional ConfigMap and Secret with further variables of our services, such as TLS and regions of managed servers."""
NETWORK_LABEL: Final = "gourmetgram.network/"
"""Beginning of a label for each network of the compose file."""

_STOP_S: Final = "10s"
"""Compose's own time between SIGTERM and SIGKILL."""
_MIB: Final = {"k": 1 / 1024, "m": 1, "g": 1024}
_FULL_SHARES: Final = 1024


class Pods:
    """Makes pods.

    Args:
        services: services of the compose file, with their variables as they stand.
        variables: translates and remembers variables.
    """

    def __init__(self, services: Mapping[str, Mapping[str, Any]], variables: Variables) -> None:
        self._services = services
        self._variables = variables

    def of(self, workload: Workload, before: Sequence[Workload] = ()) -> dict[str, Any]:
        """Template of a pod.

        Args:
            workload: the service in the pod.
            before: jobs that run one after the other before it, in the same pod.
        """
        service = self._services[workload.service]
        containers = [self._container(each) for each in (*before, workload)]
        everything = (*before, workload)
        volumes = {name: source for each in everything for name, source in self._volumes(each).items()}
        labels = {"app.kubernetes.io/name": name_of(workload.service)}
        spec: dict[str, Any] = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": seconds(service.get("stop_grace_period", _STOP_S)),
            "securityContext": {
                "runAsNonRoot": True,
                # The files of its volumes belong to this group; 0 would be no group of their own.
                "fsGroup": workload.group or workload.user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **({"initContainers": containers[:-1]} if before else {}),
            "containers": containers[-1:],
            **({"volumes": [{"name": name, **source} for name, source in volumes.items()]} if volumes else {}),
            **_spread(workload, labels),
        }
        if workload.service == "redpanda":
            # It binds to its own name, which is the address of the Service elsewhere.
            spec["hostAliases"] = [{"ip": "127.0.0.1", "hostnames": ["redpanda"]}]
        return {"metadata": {"labels": {**labels, **self._networks(everything)}}, "spec": spec}

    def networks_of(self, service: str) -> set[str]:
        """Networks of a service in the compose file, without the way out."""
        content = self._services[service]
        return set() if content.get("network_mode") == "none" else set(content.get("networks", ())) - {"default"}

    def _networks(self, workloads: Sequence[Workload]) -> dict[str, str]:
        names = {name for each in workloads for name in self.networks_of(each.service)}
        return {f"{NETWORK_LABEL}{name}": "true" for name in sorted(names)}

    def _container(self, workload: Workload) -> dict[str, Any]:
        service = self._services[workload.service]
        memory = _mebibytes(service["mem_limit"])
        cpu = 250 * service.get("cpu_shares", _FULL_SHARES) // _FULL_SHARES
        environment = self._variables.of({**service.get("environment", {}), **workload.variables})
        mounts = self._mounts(workload)
        return {
            "name": name_of(workload.service),
            "image": self._variables.image(service["image"]),
            "imagePullPolicy": "IfNotPresent",
            **({"command": service["entrypoint"]} if "entrypoint" in service else {}),
            **({"args": service["command"]} if "command" in service else {}),
            **({"env": environment} if environment else {}),
            **({} if "build" not in service or workload.service == "minio" else _further_variables()),
            **({"ports": [{"containerPort": port} for port in workload.ports]} if workload.ports else {}),
            # No limit of the CPU: as on Compose, waiting work may use what is free.
            "resources": {
                "requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
                "limits": {"memory": f"{memory}Mi"},
            },
            **(probes_of(service["healthcheck"], workload.alive) if "healthcheck" in service else {}),
            "securityContext": {
                "runAsUser": workload.user,
                "runAsGroup": workload.group,
                "readOnlyRootFilesystem": not workload.writes_to_image,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
            **({"volumeMounts": mounts} if mounts else {}),
        }

    def _mounts(self, workload: Workload) -> list[dict[str, Any]]:
        service = self._services[workload.service]
        mounts: list[dict[str, Any]] = [
            {"name": _scratch_name(workload, folder), "mountPath": folder} for folder in self._scratch(workload)
        ]
        for source, target, read_only in _mounts_of(service):
            mounts.append(
                {"name": volume_name(source), "mountPath": target, **({"readOnly": True} if read_only else {})}
            )
        for config in service.get("configs", ()):
            name, target = config["source"], config["target"]
            mounts.append({"name": name, "mountPath": target, "subPath": PurePosixPath(target).name, "readOnly": True})
        return mounts

    def _scratch(self, workload: Workload) -> list[str]:
        """Folders of files that do not last, outer ones first."""
        service = self._services[workload.service]
        folders = [entry.partition(":")[0] for entry in service.get("tmpfs", ())]
        shared_memory = ["/dev/shm"] if "shm_size" in service else []  # noqa: S108 - in the container
        return sorted({*folders, *workload.scratch, *shared_memory})

    def _volumes(self, workload: Workload) -> dict[str, dict[str, Any]]:
        """Sources of the pod's volumes; those of a StatefulSet's own storage are not among them."""
        service = self._services[workload.service]
        volumes: dict[str, dict[str, Any]] = {}
        for folder in self._scratch(workload):
            shared = folder == "/dev/shm"  # noqa: S108 - in the container
            memory = {"medium": "Memory", "sizeLimit": f"{_mebibytes(service['shm_size'])}Mi"} if shared else {}
            volumes[_scratch_name(workload, folder)] = {"emptyDir": memory}
        for source, _target, _read_only in _mounts_of(service):
            name = volume_name(source)
            if source in SECRET_VOLUMES:
                # The group of the pod may read the files.
                volumes[name] = {"secret": {"secretName": SECRET_VOLUMES[source], "defaultMode": 0o440}}
            elif source.endswith("_tmp"):
                volumes[name] = {"emptyDir": {}}
            elif source.startswith("./"):
                volumes[name] = {"configMap": {"name": name}}
            elif source in workload.storage and not is_stateful(workload):
                volumes[name] = {"persistentVolumeClaim": {"claimName": name}}
        for config in service.get("configs", ()):
            volumes[config["source"]] = {"configMap": {"name": config["source"]}}
        return volumes


def is_stateful(workload: Workload) -> bool:
    """True for a server with storage of its own."""
    return bool(workload.storage) and SHARED_VOLUME not in workload.storage


def volume_name(source: str) -> str:
    """Name of the volume for a named volume, or for a folder beside the compose file."""
    return name_of(source.removeprefix("./"))


def _mounts_of(service: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Source, path and "read only" of each mount. Folders of the checkout above docker/ are in the image instead."""
    found = []
    for mount in service.get("volumes", ()):
        source, target, *mode = mount.split(":")
        if not source.startswith("../"):
            found.append((source, target, mode == ["ro"]))
    return found


def _spread(workload: Workload, labels: Mapping[str, str]) -> dict[str, Any]:
    if workload.replicas == 1:
        return {}
    constraint = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return {"topologySpreadConstraints": [{**constraint, "labelSelector": {"matchLabels": dict(labels)}}]}


def _scratch_name(workload: Workload, folder: str) -> str:
    return f"{name_of(workload.service)}{folder.replace('/', '-')}"


def _further_variables() -> dict[str, Any]:
    optional = {"name": CONNECTIONS, "optional": True}
    return {"envFrom": [{"configMapRef": optional}, {"secretRef": optional}]}


def _mebibytes(size: str) -> int:
    return int(int(size[:-1]) * _MIB[size[-1]])
