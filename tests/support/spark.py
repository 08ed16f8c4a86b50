"""A Spark server for all tests of a session, and one that a test may kill."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from gourmetgram.errors import SettingsError
from gourmetgram.lakehouse.engine.spark_server import LOCAL_OPTIONS, spark_address, spark_home
from gourmetgram.settings import OfflineSettings

LOCAL = OfflineSettings(offline_engine="spark", spark_master="local[2]")

# Queries of few rows: compiling them would take longer than running them.
_DEFAULTS = """
spark.sql.codegen.wholeStage false
spark.sql.codegen.factoryMode NO_CODEGEN
spark.log.level WARN
"""


@pytest.fixture(scope="session")
def quick_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """The environment in which a server of `make setup-spark` answers small queries fast."""
    try:
        spark_home(LOCAL)
    except SettingsError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("spark")
    (folder / "spark-defaults.conf").write_text(_DEFAULTS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SPARK_CONF_DIR", str(folder))
        environment.setitem(LOCAL_OPTIONS, "spark.sql.shuffle.partitions", "1")
        environment.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        yield environment


@pytest.fixture(scope="session")
def spark(quick_spark: pytest.MonkeyPatch) -> Iterator[OfflineSettings]:
    """A running Spark server."""
    with spark_address(LOCAL) as address:
        yield LOCAL.model_copy(update={"spark_remote": address})


@contextmanager
def own_server() -> Iterator[tuple[OfflineSettings, psutil.Process]]:
    """A server of one block, and its process."""
    before = set(psutil.Process().children())
    with spark_address(LOCAL) as address:
        (server,) = set(psutil.Process().children()) - before
        yield LOCAL.model_copy(update={"spark_remote": address}), server
