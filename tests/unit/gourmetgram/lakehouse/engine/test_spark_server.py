"""A Spark that is not there is named, with its remedy."""

from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.errors import SettingsError
from gourmetgram.lakehouse.engine import open_engine
from gourmetgram.lakehouse.engine.spark_server import java, spark_address
from gourmetgram.settings import OfflineSettings


def test_missing_spark_is_named_with_its_remedy(tmp_path: Path, lake: Catalog) -> None:
    settings = OfflineSettings(offline_engine="spark", spark_home=str(tmp_path))
    with pytest.raises(SettingsError, match=r"make setup-spark.*SPARK_REMOTE"), open_engine(lake, settings):
        pytest.fail("an engine without Spark")


@pytest.mark.parametrize(("home", "program"), [("/java", "/java/bin/java"), (None, "java-runtime/bin/java")])
def test_a_machine_without_java_takes_that_of_the_wheel(
    monkeypatch: pytest.MonkeyPatch, home: str | None, program: str
) -> None:
    monkeypatch.setenv("PATH", "")
    if home is None:
        monkeypatch.delenv("JAVA_HOME", raising=False)
    else:
        monkeypatch.setenv("JAVA_HOME", home)
    assert java().endswith(program)


def test_a_running_server_needs_no_spark_here(tmp_path: Path) -> None:
    settings = OfflineSettings(spark_remote="sc://far:15002", spark_home=str(tmp_path))
    with spark_address(settings) as address:
        assert address == "sc://far:15002"


def test_spark_works_on_a_catalog_only() -> None:
    with pytest.raises(SettingsError, match="catalog"), open_engine(None, OfflineSettings(offline_engine="spark")):
        pytest.fail("an engine without a catalog")


@pytest.mark.parametrize("remote", ["localhost:15002", "http://far"])
def test_an_address_of_another_kind_is_refused(remote: str) -> None:
    with pytest.raises(SettingsError, match="SPARK_REMOTE"):
        OfflineSettings.load({"SPARK_REMOTE": remote})
