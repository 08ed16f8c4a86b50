"""Addresses of MLflow, and a server that is away."""

import socket

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from gourmetgram.errors import PermanentError, SettingsError, TransientError
from model_training.lifecycle.tracking import TrackingSettings, connect, named_failures, run_page


def test_the_default_is_the_local_server() -> None:
    settings = TrackingSettings.load({})
    assert settings.tracking_uri == settings.registry_uri == "http://localhost:5000"


def test_a_profile_names_a_workspace() -> None:
    settings = TrackingSettings.load({"PROFILE": "course", "MLFLOW_TRACKING_URI": "http://localhost:5000"})
    assert settings.tracking_uri == "databricks://course"
    assert settings.registry_uri == "databricks-uc://course"


def test_an_address_that_is_no_url_is_refused() -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI"):
        TrackingSettings.load({"MLFLOW_TRACKING_URI": "localhost:5000"})


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_is_away_is_named_at_once() -> None:
    address = free_address()
    with pytest.raises(TransientError, match=f"MLflow does not answer at {address}: start it"):
        connect(TrackingSettings(mlflow_tracking_uri=address))


def test_a_refusal_is_no_outage() -> None:
    with (
        pytest.raises(PermanentError, match="The run failed: MLflow refused: no such run"),
        named_failures("The run failed"),
    ):
        raise MlflowException("no such\nrun", error_code=RESOURCE_DOES_NOT_EXIST)


def test_a_page_is_in_the_servers_address() -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:5000/")
    assert run_page("abc", "7") == "http://127.0.0.1:5000/#/experiments/7/runs/abc"
