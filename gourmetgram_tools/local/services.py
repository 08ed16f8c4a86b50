"""Services of the platform as programs of a stack, with their variables."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from api_v2.settings import ApiV2Settings
from data_generator.settings import GeneratorSettings
from gourmetgram.settings import (
    PROJECT_ROOT,
    DagSettings,
    IcebergSettings,
    KafkaSettings,
    ObjectStoreSettings,
    OfflineSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
    WorkerSettings,
    process_environment,
)
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.minio import answers
from risk_scoring_service.settings import ScorerSettings
from stream_consumer.settings import ConsumerSettings

API_SERVICES: Final = ("api_v1", "api_v2")
"""Versions of the API; one at a time holds the API's port."""
WORKERS: Final = ("stream_consumer", "risk_scoring_service", "data_generator")
SERVICES: Final = (*API_SERVICES, *WORKERS)

_TITLES = {
    "api_v1": "API without events",
    "api_v2": "API",
    "stream_consumer": "Stream consumer",
    "risk_scoring_service": "Risk scorer",
    "data_generator": "Data generator",
}

_MODEL_STORE: Final[Mapping[str, str]] = {"MODEL_BUCKET": "gourmetgram-datalake", "MODEL_PREFIX": "models/moderation/"}
# Differences from the services' own defaults: values of the lab's compose file.
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "api_v1": {},
    "api_v2": {},
    "stream_consumer": {"KAFKA_CONSUMER_GROUP": "gourmetgram-stream-consumer"},
    "risk_scoring_service": {"KAFKA_CONSUMER_GROUP": "gourmetgram-moderation", **_MODEL_STORE},
    "airflow": {},
    "jupyter": _MODEL_STORE,
    "mlflow": {},
    "data_generator": {
        "GENERATOR_ARRIVAL_RATE": "3000.0",
        "GENERATOR_INITIAL_USERS": "10",
        "GENERATOR_INITIAL_IMAGES": "20",
    },
}


def _variables(*classes: type[Settings]) -> frozenset[str]:
    return frozenset(name.upper() for settings in classes for name in settings.model_fields)


# A service gets addresses from its stack only: a shell set up for one stack (`gourmetgram env`) must not point
# another stack's services at the first. Libraries read more variables with these beginnings than the settings name.
_ADDRESS_PREFIXES = ("AWS_", "KAFKA_", "MLFLOW_", "MODEL_SIGNING_", "PYICEBERG_")
_ADDRESSES = _variables(
    PostgresSettings, KafkaSettings, RedisSettings, ObjectStoreSettings, IcebergSettings, WorkerSettings
)
# By name, because the import of the class that reads it takes seconds.
_TRAINING: Final = frozenset({"LABEL_HORIZON_MINUTES"})
_SETTINGS = (
    _variables(ApiV2Settings, DagSettings, OfflineSettings, ConsumerSettings, GeneratorSettings, ScorerSettings)
    | _TRAINING
)


def is_address(variable: str) -> bool:
    """Return whether a variable is an address; a service gets those from its stack only."""
    return variable in _ADDRESSES or variable.startswith(_ADDRESS_PREFIXES)


def is_switch(variable: str) -> bool:
    """Return whether a variable of the caller's environment is a switch that services inherit."""
    return variable in _SETTINGS and not is_address(variable)


def inherited_environment() -> dict[str, str]:
    """The caller's environment without the settings of services."""
    inherited = process_environment()
    # Without stored bytecode, a process compiles some 600 modules at each start, which takes seconds.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    return {name: value for name, value in inherited.items() if not is_switch(name) and not is_address(name)}


def service_environment(
    name: str | None, addresses: Mapping[str, str], health_port: int | None, overrides_file: Path
) -> dict[str, str]:
    """Variables of a service, the later overriding: defaults, the caller's switches, addresses, the overrides file.

    Args:
        name: name of the service; None = another program, such as a test or a script.
        addresses: addresses and credentials of the stack.
        health_port: port on which a worker serves `/health`.
        overrides_file: path of an optional file of NAME=VALUE lines.
    """
    variables = dict(_DEFAULTS[name]) if name else {}
    if name:
        variables.update((key, value) for key, value in process_environment().items() if is_switch(key))
    variables.update(addresses)
    if health_port is not None:
        variables.update({"HEALTH_HOST": "127.0.0.1", "HEALTH_PORT": str(health_port)})
    if overrides_file.exists():
        overrides = dotenv_values(overrides_file, interpolate=False)
        variables.update((key, value) for key, value in overrides.items() if value is not None)
    return variables


class Service(Component):
    """A service of the platform as a part of the stack.

    Args:
        name: one of `SERVICES`.
        port: port of the API, or a worker's health port.
        environment: variables of the service.
        host: address on which the API listens.
    """

    def __init__(self, name: str, port: int, environment: Mapping[str, str], host: str = "127.0.0.1") -> None:
        if name not in SERVICES:
            raise StackError(f"There is no service '{name}'.")
        self.name = name
        self.title = _TITLES[name]
        self.host = host
        self._port = port
        self._environment = environment

    @property
    def ports(self) -> Mapping[str, int]:
        """Port of the API, or the health port."""
        return {"the API" if self.name in API_SERVICES else f"{self.title.lower()}'s health page": self._port}

    def program(self) -> Program:
        """Entry point of the service, with this interpreter."""
        return Program(
            command=(sys.executable, *self._arguments()),
            directory=PROJECT_ROOT,
            environment={**self._environment, "PYTHONUNBUFFERED": "1"},
        )

    def _arguments(self) -> tuple[str, ...]:
        address = ("--host", self.host, "--port", str(self._port)) if self.name in API_SERVICES else ()
        return ("-m", self.name, *address)

    def healthy(self) -> bool:
        """Probe its health page."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        return answers(f"http://{host}:{self._port}/health")
