"""Polls for new models in the background and swaps them as a whole, while the loop goes on scoring."""

import logging
import threading
from datetime import datetime
from typing import Final

from gourmetgram.errors import PlatformError
from gourmetgram.models.artifacts import METADATA_NAME, ModelMetadata, ServingModel, load_model
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.repository import MissingObjectError, ModelRepository
from risk_scoring_service import metrics

log = logging.getLogger(__name__)

CHECKING: Final = "Checking MinIO for new model artifacts..."


class ModelPoller:
    """Keeps the model in use.

    Args:
        repository: where models are published.
        interval_s: time between two polls, seconds.
    """

    def __init__(self, repository: ModelRepository, interval_s: float) -> None:
        self._repository = repository
        self._interval_s = interval_s
        # Replaced as one reference: a reader has the old model or the new one, never parts of both.
        self._model: ServingModel | None = None
        self._problem: str | None = None
        self._tried: datetime | None = None
        self._looked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-poller", daemon=True)

    @property
    def model(self) -> ServingModel | None:
        """The model in use, None while there is none."""
        return self._model

    def status(self) -> dict[str, object]:
        """State of the model for `/health`; a problem with a new model does not make the service unhealthy."""
        return {"version": None if self._model is None else self._model.metadata.version, "problem": self._problem}

    def start(self) -> None:
        """Start the poller."""
        self._thread.start()

    def wait_for_first_look(self, timeout_s: float) -> None:
        """Wait for the end of the first poll, at most `timeout_s` seconds."""
        self._looked.wait(timeout_s)

    def stop(self) -> None:
        """Stop polling; a poll in progress ends by itself within its deadlines."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def look(self) -> None:
        """Poll once: load a new model; on failure keep the old one, and log the failure once."""
        if not self._looked.is_set():
            log.info(CHECKING)
        try:
            metadata = self._repository.served_metadata()
            if self._model is None or metadata.updated_at != self._model.metadata.updated_at:
                self._refuse_older(metadata)
                self._load(metadata)
            elif self._looked.is_set():
                log.debug(CHECKING)
            self._problem = None
        except MissingObjectError as error:
            log.debug("No model: %s", error)
            self._problem = None
        except PlatformError as error:
            self._failed(str(error))
        finally:
            metrics.MODEL_PROBLEM.set(0 if self._problem is None else 1)
            self._looked.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:  # outermost loop of the thread: scoring goes on, whatever error a model raises
                log.exception("The poll for a model failed unexpectedly")
            self._stop.wait(self._interval_s)

    def _refuse_older(self, metadata: ModelMetadata) -> None:
        """Refuse an authentic file of an earlier time: each way of `gourmetgram models` writes a later one."""
        if self._model is not None and metadata.updated_at < self._model.metadata.updated_at:
            raise ArtifactError(
                f"{METADATA_NAME} is older than that of the model in use: it was put back by hand. Use "
                f"`gourmetgram models activate {metadata.version}` to serve version {metadata.version}"
            )

    def _load(self, metadata: ModelMetadata) -> None:
        # A model that failed is tried again at each poll, without a log line: its files may not be complete yet.
        level = logging.DEBUG if metadata.updated_at == self._tried else logging.INFO
        self._tried = metadata.updated_at
        if self._looked.is_set():
            log.log(level, CHECKING)
        log.log(level, "Downloading model from %s", self._repository.address)
        files = self._repository.read_model(metadata.folder)
        self._model = load_model(metadata, files)
        metrics.MODEL_VERSION.set(metadata.version)
        log.info("Model loaded successfully (version: %d, trained on %d rows)", metadata.version, metadata.rows_seen)

    def _failed(self, problem: str) -> None:
        in_use = "the rules decide" if self._model is None else f"version {self._model.version} stays in use"
        level = logging.DEBUG if problem == self._problem else logging.WARNING
        log.log(level, "The model at %s is not loaded, %s: %s", self._repository.address, in_use, problem)
        self._problem = problem
