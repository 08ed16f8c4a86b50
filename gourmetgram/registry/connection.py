"""The connection to MLflow: its addresses, and its failures as sentences."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Annotated, Final
from urllib.request import urlopen

from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
)
from mlflow.exceptions import MlflowException
from pydantic import Field

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.registry.address import page_address
from gourmetgram.settings import Settings

with warnings.catch_warnings():
    # MLflow 3.17 warns of a type hint in its own classes while it is imported.
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
    import mlflow
    import mlflow.pyfunc

_ANSWER_S: Final = 5
# The waits between five attempts add up to about half a minute, in which a restarted server is back. MLflow's own
# default is eight attempts in four minutes.
_RETRIES: Final = 4
_REFUSED: Final = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "BAD_REQUEST",
    "NOT_FOUND",
}


class TrackingSettings(Settings):
    """Addresses of MLflow."""

    mlflow_tracking_uri: Annotated[str, Field(pattern="^https?://")] = "http://localhost:5000"
    """URL of the tracking server and model registry."""
    profile: str | None = None
    """Profile of a Databricks workspace, which is then used instead."""

    @property
    def tracking_uri(self) -> str:
        """Address of runs and experiments."""
        return f"databricks://{self.profile}" if self.profile else self.mlflow_tracking_uri

    @property
    def registry_uri(self) -> str:
        """Address of registered models."""
        return f"databricks-uc://{self.profile}" if self.profile else self.mlflow_tracking_uri


def connect(settings: TrackingSettings | None = None) -> None:
    """Set the addresses of MLflow for this process, and check that the server answers.

    Args:
        settings: None = from the environment.

    Raises:
        TransientError: the server does not answer.
    """
    settings = settings or TrackingSettings.load()
    if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(_RETRIES)  # type: ignore[no-untyped-call]
    if not MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD.is_set():  # type: ignore[no-untyped-call]
        # The server would hand out addresses in the object store by the name that it knows: in Compose that of a
        # container, which a program on the machine cannot reach. Files come through the server instead.
        MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD.set(False)  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(settings.tracking_uri)
    mlflow.set_registry_uri(settings.registry_uri)
    if settings.tracking_uri.startswith("http") and not _answers(settings.tracking_uri):
        raise TransientError(
            f"MLflow does not answer at {settings.tracking_uri}: start it (`gourmetgram up --with mlflow`, in Compose "
            "the service mlflow), or correct MLFLOW_TRACKING_URI."
        )


def silence_client() -> None:
    """Switch off what MLflow's client prints and logs besides errors: for programs that print lines of their own."""
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
    logging.getLogger("mlflow").setLevel(logging.ERROR)


def run_page(run_id: str, experiment_id: str, address: str | None = None) -> str:
    """Address of a run's page.

    Args:
        run_id: the run.
        experiment_id: its experiment.
        address: address of MLflow; None = the one of `connect`.
    """
    return page_address(address or mlflow.get_tracking_uri(), run_id, experiment_id)


@contextmanager
def named_failures(task: str) -> Iterator[None]:
    """Turn MLflow's errors into the platform's errors.

    Args:
        task: the failure in words, as the beginning of the sentence.

    Raises:
        TransientError: MLflow, or the object store behind it, is away.
        PermanentError: MLflow refused.
    """
    try:
        yield
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        code = getattr(error, "error_code", "")
        if code in _REFUSED:
            raise PermanentError(f"{task}: MLflow refused: {reason}") from error
        address = mlflow.get_tracking_uri()
        if address.startswith("http") and not _answers(address):
            raise TransientError(
                f"{task}: MLflow does not answer at {address} any more. Start it, and run again."
            ) from error
        raise TransientError(
            f"{task}: MLflow answers, but its database or object store (MinIO) may be away. Check both, and run again. "
            f"MLflow says: {reason}"
        ) from error


def _answers(address: str) -> bool:
    with (
        suppress(OSError, HTTPException),
        urlopen(f"{address.rstrip('/')}/health", timeout=_ANSWER_S) as answer,  # noqa: S310 - the settings allow HTTP only
    ):
        return bool(answer.status == 200)
    return False
