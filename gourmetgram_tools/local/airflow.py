"""Airflow in the local stack: three processes in an environment of their own, with the lab's settings."""

import base64
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import orjson

from gourmetgram.files import replace_file
from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.minio import answers
from gourmetgram_tools.local.progress import StepReport

WEBSERVER: Final = "airflow_webserver"
DAG_PROCESSOR: Final = "airflow_dag_processor"
SCHEDULER: Final = "airflow_scheduler"
AIRFLOW: Final = (WEBSERVER, DAG_PROCESSOR, SCHEDULER)
"""Processes in the order of their start: the first also sets up the database of all."""

ENVIRONMENT: Final = PROJECT_ROOT / ".venv-airflow"
"""Environment with Airflow's own packages: its FastAPI is older than that of the services."""

ADMIN_USER: Final = "admin"
ADMIN_PASSWORD: Final = "gourmetgram_airflow"  # noqa: S105 - the lab's published teaching password

_TITLES = {WEBSERVER: "Airflow's pages", DAG_PROCESSOR: "Airflow's DAG processor", SCHEDULER: "Airflow's scheduler"}
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    WEBSERVER: ("api-server", "--workers", "1"),
    DAG_PROCESSOR: ("dag-processor",),
    SCHEDULER: ("scheduler",),
}
_INIT: Final = PROJECT_ROOT / "airflow" / "init.py"
_INIT_TIMEOUT_S: Final = 300.0


class Airflow(Component):
    """An Airflow process as a part of the stack.

    Args:
        name: one of `AIRFLOW`.
        layout: paths of the stack.
        port: port of the pages and the API.
        health_port: port of the scheduler's health page.
        host: address on which the pages listen.
        database_url: SQLAlchemy URL of Airflow's own database.
        environment: variables of the stack, which the DAGs read.
    """

    def __init__(
        self,
        name: str,
        layout: Layout,
        *,
        port: int,
        health_port: int,
        host: str,
        database_url: str,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.title = _TITLES[name]
        self.host = host
        self._layout = layout
        self._port = port
        self._health_port = health_port
        self._database_url = database_url
        self._stack_environment = environment

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME: logs, secrets, and the note of the set-up."""
        return self._layout.folder / "airflow"

    @property
    def ports(self) -> Mapping[str, int]:
        """Port of the pages, or the scheduler's health port; none for the DAG processor."""
        if self.name == WEBSERVER:
            return {"Airflow's pages": self._port}
        return {"Airflow's scheduler health page": self._health_port} if self.name == SCHEDULER else {}

    def obtain(self, report: StepReport) -> None:
        """Check that Airflow is installed; `make` installs it.

        Raises:
            StackError: Airflow is not installed.
        """
        if not (ENVIRONMENT / "bin" / "airflow").exists():
            raise StackError("Airflow is not installed in this checkout: run `make setup-airflow`, then try again.")

    def prepare(self, report: StepReport) -> None:
        """Set up the database, the login and the connections, unless the noted set-up has the same inputs."""
        self.home.mkdir(parents=True, exist_ok=True)
        if self.name != WEBSERVER:
            return
        wanted = self._setup_key()
        note = self.home / "setup.json"
        if note.exists() and note.read_bytes() == wanted:
            return
        report("metadata tables, login, connections (twenty seconds, once)")
        log_file = self._layout.folder / "logs" / "airflow_init.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("wb") as output:
            done = subprocess.run(
                [str(ENVIRONMENT / "bin" / "python"), str(_INIT)],
                env=self._environment(),
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_INIT_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            raise StackError(f"Airflow could not be set up; what it said is in {log_file}.")
        replace_file(note, wanted.decode())

    def _setup_key(self) -> bytes:
        """Inputs of the set-up; another value of any of them makes a new set-up due."""
        script = _INIT.read_text(encoding="utf-8")
        pins = (PROJECT_ROOT / "requirements" / "airflow.txt").read_text(encoding="utf-8")
        return orjson.dumps([script, pins, self._database_url, dict(self._stack_environment)])

    def program(self) -> Program:
        """The process, in one group with its children."""
        return Program(
            command=(str(ENVIRONMENT / "bin" / "airflow"), *_ARGUMENTS[self.name]),
            directory=self.home,
            environment=self._environment(),
            stop_seconds=10,
        )

    def healthy(self) -> bool:
        """Probe its own health page or, for the DAG processor, the page that reports on it."""
        if self.name == SCHEDULER:
            return answers(f"http://127.0.0.1:{self._health_port}/health")
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        page = f"http://{host}:{self._port}/api/v2/monitor/health"
        return answers(page) if self.name == WEBSERVER else _dag_processor_is_healthy(page)

    def _environment(self) -> dict[str, str]:
        core = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "airflow" / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "airflow" / "plugins"),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self._port}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database_url,
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "True",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self._health_port),
            "AIRFLOW__API__HOST": self.host,
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__BASE_URL": f"http://localhost:{self._port}",
            "AIRFLOW_ADMIN_PASSWORD": ADMIN_PASSWORD,
            # No usage data leaves the machine.
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.defpath}",
        }
        return {**self._stack_environment, **core, **self._secrets()}

    def _secrets(self) -> dict[str, str]:
        """Keys that all processes share, made once per stack and readable by its owner only."""
        path = self.home / "secrets.json"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            made = {
                "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
                "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(48),
            }
            replace_file(path, orjson.dumps(made).decode(), mode=0o600)
        loaded: dict[str, str] = orjson.loads(path.read_bytes())
        return loaded


def _dag_processor_is_healthy(page: str) -> bool:
    try:
        report = httpx.get(page, timeout=2.0).json()
    except (httpx.HTTPError, ValueError):
        return False
    return bool(report.get("dag_processor", {}).get("status") == "healthy")
