"""A stack on which the demonstration was run, for the one test module that does so: that takes minutes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.rows import outbox_size
from gourmetgram_tools.local.airflow import ADMIN_PASSWORD, ADMIN_USER, ENVIRONMENT
from gourmetgram_tools.local.stack import Stack
from gourmetgram_tools.orchestration import AirflowClient
from tests.support.waiting import wait_until
from tests.support.write_load import WriteLoad

DAGS = ("model_retraining", "moderation_training", "redpanda_event_aggregation")
COMMAND = Path(sys.executable).parent / "gourmetgram"
WIDE = {**process_environment(), "COLUMNS": "200"}


class AirflowPlatform:
    """A running stack with Airflow.

    Attributes:
        stack: the stack.
        client: what `gourmetgram dags` uses.
        rest: Airflow's REST API, logged in, for what that client does not ask.
    """

    def __init__(self, stack: Stack, client: AirflowClient, rest: httpx.Client) -> None:
        self.stack = stack
        self.client = client
        self.rest = rest

    @classmethod
    @contextmanager
    def connect(cls, stack: Stack) -> Iterator[Self]:
        """Log in."""
        url = f"http://127.0.0.1:{stack.ports.airflow}"
        with (
            AirflowClient.connect(url, ADMIN_USER, ADMIN_PASSWORD) as client,
            httpx.Client(base_url=url, timeout=60) as rest,
        ):
            login = {"username": ADMIN_USER, "password": ADMIN_PASSWORD}
            token = rest.post("/auth/token", json=login).raise_for_status().json()["access_token"]
            rest.headers["Authorization"] = f"Bearer {token}"
            yield cls(stack, client, rest)

    @property
    def url(self) -> str:
        """Of Airflow's pages."""
        return f"http://127.0.0.1:{self.stack.ports.airflow}"

    @property
    def platform(self) -> Platform:
        """The addresses of its stores."""
        return platform_of(self.stack)

    def get(self, path: str, **parameters: Any) -> Any:
        """An answer of the REST API."""
        return self.rest.get(f"/api/v2/{path}", params=parameters).raise_for_status().json()

    def write_events(self, number: int) -> None:
        """Users do things through the API, until so many views, comments and flags were accepted."""
        with WriteLoad(self.platform.api_url) as load:
            wait_until(lambda: load.accepted >= number, 60, f"{number} accepted requests, {load.answers}")
        engine = create_worker_engine(self.platform.postgres, "airflow-test")
        try:
            wait_until(lambda: outbox_size(engine) == 0, 30, "an empty outbox")
        finally:
            engine.dispose()

    def dags(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`gourmetgram dags …`, as people type it."""
        return subprocess.run(
            self._command(*arguments),
            env=WIDE,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def _command(self, *arguments: str) -> list[str]:
        return [str(COMMAND), "--stack", self.stack.name, "dags", *arguments]

    @contextmanager
    def triggered(self, dag_id: str) -> Iterator[subprocess.Popen[str]]:
        """`gourmetgram dags trigger DAG --wait`, while it runs."""
        command = self._command("trigger", dag_id, "--wait")
        with subprocess.Popen(command, env=WIDE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, dag_id: str, *options: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        """`gourmetgram dags trigger DAG --wait`: id of the run that it started, and how it ended."""
        done = self.dags("trigger", dag_id, "--wait", *options)
        started = re.search(rf"Started {dag_id}: (\S+)", done.stdout)
        assert started, done.stdout + done.stderr
        return started[1], done

    def wait_idle(self, deadline_s: float = 120) -> None:
        """Wait until no run is under way: unpausing a DAG also starts its newest scheduled run."""

        def idle() -> bool:
            runs = [run for dag_id in DAGS for run in self.get(f"dags/{dag_id}/dagRuns")["dag_runs"]]
            return all(run["state"] in ("success", "failed") for run in runs)

        wait_until(idle, deadline_s, "the end of all runs")

    def xcoms(self, dag_id: str, run_id: str) -> dict[str, str]:
        """What each task of a run left behind for others, as JSON text."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found = {}
        for task in self.get(path)["task_instances"]:
            entries = self.get(f"{path}/{task['task_id']}/xcomEntries")["xcom_entries"]
            for entry in entries:
                content = self.get(f"{path}/{task['task_id']}/xcomEntries/{entry['key']}")["value"]
                found[f"{task['task_id']}.{entry['key']}"] = json.dumps(content)
        return found

    def verify_pipeline(self) -> subprocess.CompletedProcess[str]:
        """`verify_pipeline.py` in Airflow's own environment."""
        return subprocess.run(
            [str(ENVIRONMENT / "bin" / "python"), str(PROJECT_ROOT / "airflow" / "dags" / "verify_pipeline.py")],
            env={**process_environment(), **self.stack.environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
