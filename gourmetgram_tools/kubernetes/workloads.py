"""Services of the compose file that run on Kubernetes, with the facts that Compose does not know.

Left out: `api_v1` (`api_v2` does the same and more), Jupyter, the made-up traffic with its data set, and the pages of
other publishers. Most of those pages ask for no login.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Workload:
    """A service of the compose file as a workload.

    Attributes:
        service: name in the compose file.
        user: user id of its process.
        group: group id of its process, and of the files of its volumes.
        ports: ports of its Service; none for a job.
        replicas: number of pods.
        storage: named volumes of the compose file that last, with their sizes.
        scratch: folders that its image writes to, beside the `tmpfs` of the compose file.
        writes_to_image: True for an image that writes into its own file system.
        alive: path that answers while the process works, whatever other servers do; empty for none.
        variables: variables beside those of the compose file.
    """

    service: str
    user: int
    group: int
    ports: tuple[int, ...] = ()
    replicas: int = 1
    storage: Mapping[str, str] = field(default_factory=dict)
    scratch: tuple[str, ...] = ()
    writes_to_image: bool = False
    alive: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


SHARED_VOLUME: Final = "airflow_logs"
"""The only volume that several pods write to."""
_AIRFLOW_FOLDERS: Final = {
    "AIRFLOW__CORE__DAGS_FOLDER": "/opt/setup/dags",
    "AIRFLOW__CORE__PLUGINS_FOLDER": "/opt/setup/plugins",
}
"""Folders of the image; Compose mounts those of the checkout."""


def _own(service: str, *ports: int, replicas: int = 1, alive: str = "") -> Workload:
    return Workload(service, 10001, 10001, ports, replicas, alive=alive)


def _airflow(service: str, *ports: int) -> Workload:
    # The image's user has the group 0.
    return Workload(service, 50000, 0, ports, storage={SHARED_VOLUME: "5Gi"}, variables=_AIRFLOW_FOLDERS)


SERVERS: Final = (
    Workload("postgres", 999, 999, (5432,), storage={"postgres_data": "20Gi"}, scratch=("/tmp", "/var/run/postgresql")),  # noqa: S108 - in the container
    Workload("minio", 10001, 10001, (9000, 9001), storage={"minio_data": "50Gi"}),
    # rpk writes Redpanda's configuration into /etc/redpanda of the image.
    Workload("redpanda", 101, 101, (9092, 9644), storage={"redpanda_data": "20Gi"}, writes_to_image=True),
    Workload("redis", 999, 1000, (6379,), storage={"redis_data": "5Gi"}),
)
"""One pod each: enough for a trial. Managed servers take their place."""

SERVER_JOBS: Final = (Workload("redpanda-init", 101, 101, writes_to_image=True),)
"""Jobs that only these servers need."""

SETUP: Final = (_own("migrate"), _own("minio-init"), Workload("airflow-init", 50000, 0))
"""Jobs that run one after the other, in the order of their dependencies."""

SERVICES: Final = (
    # State is in the servers, so each of these runs twice: one of two relays leads, partitions are shared.
    _own("api_v2", 8000, replicas=2, alive="/metrics"),
    _own("stream_consumer", 9101, replicas=2, alive="/metrics"),
    _own("risk_scoring_service", 9102, replicas=2, alive="/metrics"),
    _own("mlflow", 5000, alive="/health"),
    _airflow("airflow-webserver", 8080),
    _airflow("airflow-dag-processor"),
    _airflow("airflow-scheduler", 8974),
)

SECRET_VOLUMES: Final = {"airflow_secrets": "gourmetgram-airflow-keys", "model_keys": "gourmetgram-model-keys"}
"""Volumes of the compose file in which a job makes keys: on Kubernetes each is a Secret with the same files."""


def name_of(service: str) -> str:
    """Name of a service's objects, also its host name; Kubernetes allows no underscore."""
    return service.replace("_", "-")
