"""One Spark server for all tests of a run that need one."""

from collections.abc import Iterator

import pytest

from gourmetgram.lakehouse.engine.spark_server import spark_address
from gourmetgram.settings import OfflineSettings


@pytest.fixture(scope="session")
def spark() -> Iterator[OfflineSettings]:
    """Settings for a running Spark server, made by `make setup-spark`."""
    with spark_address(OfflineSettings(offline_engine="spark", spark_master="local[2]")) as address:
        yield OfflineSettings(offline_engine="spark", spark_remote=address)
