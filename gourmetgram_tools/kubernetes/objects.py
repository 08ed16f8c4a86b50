"""Objects of Kubernetes around the pods."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gourmetgram_tools.kubernetes.pods import NETWORK_LABEL, Pods, is_stateful, volume_name
from gourmetgram_tools.kubernetes.workloads import SHARED_VOLUME, Workload, name_of

NAMESPACE: Final = "gourmetgram"

Object = dict[str, Any]

_DONE_S: Final = 3600
"""Seconds for which a job that is done stays visible. The next `apply` runs it again, since jobs cannot be changed."""
_TRIES: Final = 20
_DNS: Final = {
    "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}


def namespace() -> Object:
    """The namespace; it refuses pods with more rights than the profile `restricted` gives."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def server(pods: Pods, workload: Workload) -> list[Object]:
    """A service that answers: StatefulSet or Deployment, Service, and for several pods a disruption budget.

    A budget for one pod is left out: it would stop the drain of a node for ever, or mean nothing.
    """
    name = name_of(workload.service)
    selector = {"matchLabels": {"app.kubernetes.io/name": name}}
    spec: Object = {"replicas": workload.replicas, "selector": selector}
    if is_stateful(workload):
        claims = [_claim(volume, size, "ReadWriteOnce") for volume, size in workload.storage.items()]
        spec |= {"serviceName": name, "template": pods.of(workload), "volumeClaimTemplates": claims}
        objects = [_object("apps/v1", "StatefulSet", name, spec)]
    else:
        # Two schedulers would share one folder of logs; several replicas replace each other one by one.
        strategy = "RollingUpdate" if workload.replicas > 1 else "Recreate"
        spec |= {"strategy": {"type": strategy}, "template": pods.of(workload)}
        objects = [_object("apps/v1", "Deployment", name, spec)]
    if workload.ports:
        ports = [{"name": f"port-{port}", "port": port} for port in workload.ports]
        address = _object("v1", "Service", name, {"selector": selector["matchLabels"], "ports": ports})
        objects.append(address)
    if workload.replicas > 1:
        budget = {"maxUnavailable": 1, "selector": selector}
        objects.append(_object("policy/v1", "PodDisruptionBudget", name, budget))
    return objects


def job(pods: Pods, name: str, jobs: Sequence[Workload]) -> Object:
    """A job of several services of the compose file, one after the other; a failed one is repeated."""
    *before, last = jobs
    template = pods.of(last, before)
    template["spec"]["restartPolicy"] = "OnFailure"
    spec = {"backoffLimit": _TRIES, "ttlSecondsAfterFinished": _DONE_S, "template": template}
    return _object("batch/v1", "Job", name, spec)


def shared_claim(size: str) -> Object:
    """Storage that pods on several nodes write to."""
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **_claim(SHARED_VOLUME, size, "ReadWriteMany")}


def closed_by_default() -> list[Object]:
    """No pod is reached, and none reaches anything but the name server."""
    everything: Object = {"podSelector": {}}
    return [
        _policy("closed", {**everything, "policyTypes": ["Ingress", "Egress"]}),
        _policy("names", {**everything, "policyTypes": ["Egress"], "egress": [_DNS]}),
    ]


def network(name: str) -> Object:
    """Pods of one network of the compose file reach each other."""
    members = {"podSelector": {"matchLabels": {f"{NETWORK_LABEL}{name}": "true"}}}
    rules = {"ingress": [{"from": [members]}], "egress": [{"to": [members]}]}
    return _policy(f"network-{name}", {**members, "policyTypes": ["Ingress", "Egress"], **rules})


def page(workload: Workload, ports: Iterable[int]) -> Object:
    """A page that Compose publishes on UI_BIND is reached from outside of the namespace."""
    name = name_of(workload.service)
    pod = {"matchLabels": {"app.kubernetes.io/name": name}}
    rules = [{"ports": [{"protocol": "TCP", "port": port} for port in ports]}]
    return _policy(f"page-{name}", {"podSelector": pod, "policyTypes": ["Ingress"], "ingress": rules})


def managed_servers(network_name: str, block: str, ports: Iterable[int]) -> Object:
    """Pods of a network reach servers outside of the cluster."""
    pod = {"matchLabels": {f"{NETWORK_LABEL}{network_name}": "true"}}
    to = {"to": [{"ipBlock": {"cidr": block}}], "ports": [{"protocol": "TCP", "port": port} for port in ports]}
    return _policy("managed-servers", {"podSelector": pod, "policyTypes": ["Egress"], "egress": [to]})


def _policy(name: str, spec: Mapping[str, Any]) -> Object:
    return _object("networking.k8s.io/v1", "NetworkPolicy", name, spec)


def _claim(volume: str, size: str, mode: str) -> Object:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": volume_name(volume)}, "spec": spec}


def _object(version: str, kind: str, name: str, spec: Mapping[str, Any]) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
