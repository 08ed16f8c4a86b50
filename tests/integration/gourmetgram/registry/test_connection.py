"""Settings of MLflow's client after a connection to the real server."""

import os

import pytest

from gourmetgram.registry.connection import TrackingSettings, connect
from gourmetgram_tools.local.stack import Stack

pytestmark = pytest.mark.servers

NAME = "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"


@pytest.mark.parametrize(("before", "after"), [(None, "false"), ("true", "true")], ids=["by default", "as set"])
def test_files_come_through_the_server(
    mlflow_stack: Stack, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    """The server offers addresses in the object store by its own name for it, which clients elsewhere do not know."""
    # Set first, so that the variable is put back after the test.
    monkeypatch.setenv(NAME, before or "")
    if before is None:
        monkeypatch.delenv(NAME)
    connect(TrackingSettings.load(mlflow_stack.environment()))
    assert os.environ[NAME].lower() == after
