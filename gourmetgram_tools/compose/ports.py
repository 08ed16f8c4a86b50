"""Ports that the lab publishes on its machine; a test compares them with the compose file."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class PublishedPort:
    """A port of the machine.

    Attributes:
        number: number of the port.
        containers: names of the containers that may hold it.
        is_page: True for pages on UI_BIND; False for programs on DATA_BIND.
    """

    number: int
    containers: tuple[str, ...]
    is_page: bool


PUBLISHED: Final = (
    PublishedPort(8000, ("api-v1", "api-v2"), is_page=True),
    PublishedPort(5050, ("adminer",), is_page=True),
    PublishedPort(9001, ("minio",), is_page=True),
    PublishedPort(8090, ("redpanda-console",), is_page=True),
    PublishedPort(8081, ("redisinsight",), is_page=True),
    PublishedPort(8080, ("airflow-webserver",), is_page=True),
    PublishedPort(3000, ("nimtable-web",), is_page=True),
    PublishedPort(8888, ("jupyter",), is_page=True),
    PublishedPort(5432, ("postgres",), is_page=False),
    PublishedPort(6379, ("redis",), is_page=False),
    PublishedPort(9000, ("minio",), is_page=False),
    PublishedPort(18081, ("redpanda",), is_page=False),
    PublishedPort(18082, ("redpanda",), is_page=False),
    PublishedPort(19092, ("redpanda",), is_page=False),
    PublishedPort(19644, ("redpanda",), is_page=False),
    PublishedPort(8182, ("nimtable",), is_page=False),
    PublishedPort(5000, ("mlflow",), is_page=False),
)
