"""Site of a demonstration: a local stack, or the Compose lab."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import typer

from gourmetgram.errors import TransientError
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.cli.audit import traffic_paused
from gourmetgram_tools.cli.compare import COMPOSE_TRACE, trace_command
from gourmetgram_tools.cli.console import ConsoleProgress, errors
from gourmetgram_tools.cli.dags import airflow_of
from gourmetgram_tools.cli.target import Target, compose_settings
from gourmetgram_tools.compose.commands import compose, health_of, is_running, wait_healthy
from gourmetgram_tools.local.airflow import ADMIN_USER, AIRFLOW
from gourmetgram_tools.local.blueprint import DEFAULT_SERVICES
from gourmetgram_tools.local.services import inherited_environment
from gourmetgram_tools.local.stack import Stack
from gourmetgram_tools.orchestration import AirflowClient

SCORER: Final = "risk_scoring_service"
_GENERATOR: Final = "data_generator"
_SCORER_PORT: Final = 9102

_LAB: Final = ("postgres", "minio", "redis", "redpanda", "api_v2", "stream_consumer", SCORER, _GENERATOR)
_LAB_AIRFLOW: Final = ("airflow-webserver", "airflow-dag-processor", "airflow-scheduler")
_HEALTHY_S: Final = 300.0


class Site(Protocol):
    """Actions of a demonstration that need more than the platform's stores and API."""

    @property
    def folder(self) -> Path:
        """Folder for files of the demonstration."""

    @property
    def trace_command(self) -> str:
        """Command that traces an image, with the placeholder `{image_id}`."""

    @property
    def mode_is_kept_in(self) -> str:
        """Place of the setting that keeps the scorer's mode, for a message."""

    def up(self, *, airflow: bool) -> None:
        """Start the platform, with a scorer that uses the rules, and wait until all is healthy."""

    def traffic_paused(self) -> AbstractContextManager[None]:
        """Stop the steady traffic during the block."""

    def backfill(self) -> None:
        """Write a backfill; an existing one stays as it is."""

    def airflow(self) -> AbstractContextManager[AirflowClient]:
        """Open a session with Airflow."""

    def use_mode(self, mode: str) -> None:
        """Start the scorer again in another mode."""

    def scorer_health(self) -> dict[str, Any]:
        """Get the scorer's answer to `/health`."""


def site_of(context: typer.Context, target: Target) -> Site:
    """Site that a command's options name."""
    return _Lab() if target is Target.COMPOSE else _Local(Stack(context.obj))


class _Local:
    """Demonstration on a local stack."""

    mode_is_kept_in = "INFERENCE_MODE in the stack's overrides.env"

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.folder = stack.folder
        self.trace_command = trace_command(stack.name)

    def up(self, *, airflow: bool) -> None:
        # The rules score the first burst, also when an earlier demonstration ended with a model.
        self._stack.override("INFERENCE_MODE", "heuristic")
        self._stack.up((*DEFAULT_SERVICES, *AIRFLOW) if airflow else DEFAULT_SERVICES, ConsoleProgress())

    def traffic_paused(self) -> AbstractContextManager[None]:
        return traffic_paused(self._stack)

    def backfill(self) -> None:
        variables = {
            **inherited_environment(),
            **self._stack.environment(_GENERATOR),
            "GENERATOR_MODE": "backfill",
            "GENERATOR_BACKFILL_TRUTH_PATH": str(self.folder / "ground-truth.csv"),
        }
        done = subprocess.run([sys.executable, "-m", "data_generator"], cwd=PROJECT_ROOT, env=variables, check=False)
        if done.returncode:
            raise TransientError("The backfill failed: its last lines are above.")

    def airflow(self) -> AbstractContextManager[AirflowClient]:
        return airflow_of(self._stack)

    def use_mode(self, mode: str) -> None:
        self._stack.override("INFERENCE_MODE", mode)
        self._stack.restart(SCORER)

    def scorer_health(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._stack.ports.risk_scoring_service}/health"
        document: dict[str, Any] = httpx.get(url, timeout=5).json()
        return document


class _Lab:
    """Demonstration on the Compose lab of this machine."""

    folder = PROJECT_ROOT / ".stack" / "compose-demo"
    trace_command = COMPOSE_TRACE
    mode_is_kept_in = "INFERENCE_MODE of its container; the next `docker compose up -d` takes docker/.env's again"

    def up(self, *, airflow: bool) -> None:
        services = (*_LAB, *(_LAB_AIRFLOW if airflow else ()))
        compose("up", "-d", *services, variables={"INFERENCE_MODE": "heuristic"})
        with errors.status("Waiting until all containers are healthy"):
            wait_healthy(services, _HEALTHY_S)
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def traffic_paused(self) -> Iterator[None]:
        if not is_running(_GENERATOR):
            yield
            return
        compose("stop", _GENERATOR)
        try:
            yield
        finally:
            compose("start", _GENERATOR)

    def backfill(self) -> None:
        # In a container, so that pictures get the addresses that the lab's API writes.
        chosen = {"GENERATOR_MODE": "backfill"} | {
            name: value for name, value in process_environment().items() if name.startswith("GENERATOR_BACKFILL_")
        }
        options = [part for name, value in chosen.items() for part in ("-e", f"{name}={value}")]
        compose("run", "--rm", "--no-deps", "-T", *options, _GENERATOR)

    @contextmanager
    def airflow(self) -> Iterator[AirflowClient]:
        password = compose_settings().airflow_admin_password
        with AirflowClient.connect("http://127.0.0.1:8080", ADMIN_USER, password) as client:
            yield client

    def use_mode(self, mode: str) -> None:
        compose("up", "-d", "--no-deps", SCORER, variables={"INFERENCE_MODE": mode})
        wait_healthy([SCORER], _HEALTHY_S)

    def scorer_health(self) -> dict[str, Any]:
        return health_of(SCORER, _SCORER_PORT)
