"""The connection to MLflow: its addresses, its failures as sentences, and runs that end whatever happens."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Annotated, Final
from urllib.request import urlopen

from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
)
from mlflow.exceptions import MlflowException
from pandas.errors import Pandas4Warning  # type: ignore[import-untyped]
from pydantic import Field

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.moments import to_us
from gourmetgram.settings import Settings

with warnings.catch_warnings():
    # MLflow 3.17 warns of a type hint in its own classes while it is imported.
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
    import mlflow
    import mlflow.pyfunc
    from mlflow import MlflowClient
    from mlflow.entities import Run, RunStatus

log = logging.getLogger(__name__)

ABANDONED_AFTER: Final = timedelta(hours=1)
"""A run that has been RUNNING for so long was killed, or lost its server: a training takes less than a minute."""

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


@contextmanager
def recorded_run(experiment: str, name: str, tags: dict[str, str]) -> Iterator[Run]:
    """A run of an experiment, which is FINISHED after the block, or FAILED when the block raises an error.

    Args:
        experiment: name of the experiment, which is created if it is missing.
        name: name of the run.
        tags: tags of the run.

    Raises:
        TransientError: MLflow is away.
        PermanentError: MLflow refuses, for example because the experiment was deleted in its pages.
    """
    with named_failures(f"No run could be started in the experiment {experiment}"):
        experiment_id = mlflow.set_experiment(experiment).experiment_id
        end_abandoned_runs(experiment_id)
        run = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=tags)
    try:
        with named_failures(f"Run {run.info.run_id} failed"):
            yield run
    except BaseException:
        _fail(run.info.run_id)
        raise
    with named_failures(f"Run {run.info.run_id} could not be ended"):
        mlflow.end_run()


def end_abandoned_runs(experiment_id: str, now: datetime | None = None) -> list[str]:
    """Mark runs as FAILED that were killed, or whose server was away when they failed.

    Args:
        experiment_id: the experiment.
        now: None = the machine's clock.

    Returns:
        The ids of the runs.
    """
    client = MlflowClient()
    before_ms = to_us((now or datetime.now(UTC)) - ABANDONED_AFTER) // 1000
    query = f"attributes.status = 'RUNNING' and attributes.start_time < {before_ms}"
    abandoned = [each.info.run_id for each in client.search_runs([experiment_id], query)]
    for run_id in abandoned:
        client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
        log.warning("Run %s was RUNNING for more than an hour: marked as FAILED", run_id)
    return abandoned


def run_page(run_id: str, experiment_id: str) -> str:
    """Address of a run's page."""
    return f"{mlflow.get_tracking_uri().rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Suppress warnings of MLflow's client about its own code, and its hint about integers that may be missing."""
    with warnings.catch_warnings():
        # Labels are never missing.
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column", category=UserWarning)
        # MLflow's own code uses pandas in ways that the next version of pandas changes.
        warnings.filterwarnings("ignore", category=Pandas4Warning, module=r"mlflow\.")
        yield


def _fail(run_id: str) -> None:
    try:
        mlflow.end_run(RunStatus.to_string(RunStatus.FAILED))
    except (MlflowException, OSError):
        log.warning(
            "Run %s stays RUNNING, because MLflow is away: a training after %d minutes marks it as FAILED",
            run_id,
            ABANDONED_AFTER // timedelta(minutes=1),
        )


def _answers(address: str) -> bool:
    with (
        suppress(OSError, HTTPException),
        urlopen(f"{address.rstrip('/')}/health", timeout=_ANSWER_S) as answer,  # noqa: S310 - the settings allow HTTP only
    ):
        return bool(answer.status == 200)
    return False
