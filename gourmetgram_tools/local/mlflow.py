"""MLflow in the local stack: the tracking server and model registry, in an environment of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.minio import answers
from gourmetgram_tools.local.progress import StepReport

MLFLOW: Final = "mlflow"

ENVIRONMENT: Final = PROJECT_ROOT / ".venv-mlflow"
"""Environment with the server's own packages: it refuses the pyarrow of the platform."""

ARTIFACTS: Final = "mlflow/"
"""Prefix of run and model artifacts in the data lake's bucket."""


class Mlflow(Component):
    """The MLflow server as a part of the stack.

    The server asks for no login, so it listens on the loopback address, whatever the stack's host.

    Args:
        layout: paths of the stack.
        port: port of the pages and the API.
        database_url: SQLAlchemy URL of the server's own database.
        artifacts: address of the folder of artifacts, `s3://…/`.
        environment: variables of the stack, with the object store's address and login.
    """

    name = MLFLOW
    title = "MLflow"

    def __init__(
        self, layout: Layout, port: int, *, database_url: str, artifacts: str, environment: Mapping[str, str]
    ) -> None:
        self._home: Path = layout.folder / MLFLOW
        self._port = port
        self._database_url = database_url
        self._artifacts = artifacts
        self._environment = environment

    @property
    def ports(self) -> Mapping[str, int]:
        """Port of the pages and the API."""
        return {"MLflow": self._port}

    @property
    def address(self) -> str:
        """Address of the pages, and `MLFLOW_TRACKING_URI` of clients."""
        return f"http://{self.host}:{self._port}"

    def obtain(self, report: StepReport) -> None:
        """Check that MLflow is installed; `make setup-mlflow` installs it.

        Raises:
            StackError: MLflow is not installed.
        """
        if not (ENVIRONMENT / "bin" / "mlflow").exists():
            raise StackError("MLflow is not installed in this checkout: run `make setup-mlflow`, then try again.")

    def prepare(self, report: StepReport) -> None:
        """Make the folder in which the server runs; its tables are made by the server itself at its first start."""
        self._home.mkdir(parents=True, exist_ok=True)

    def program(self) -> Program:
        """The server, with one process for requests."""
        return Program(
            command=(
                *(str(ENVIRONMENT / "bin" / "python"), "-m", "mlflow", "server"),
                *("--host", self.host, "--port", str(self._port), "--workers", "1"),
                *("--backend-store-uri", self._database_url),
                *("--artifacts-destination", self._artifacts),
            ),
            directory=self._home,
            environment={
                **self._environment,
                "MLFLOW_S3_ENDPOINT_URL": self._environment["S3_ENDPOINT_URL"],
                # Without job execution, the server has two processes and not ten: a quarter of the memory.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "PYTHONUNBUFFERED": "1",
            },
        )

    def healthy(self) -> bool:
        """Probe its health page."""
        return answers(f"{self.address}/health")
