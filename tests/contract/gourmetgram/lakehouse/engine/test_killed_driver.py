"""A Spark driver that is killed: the tables stay as they were, nothing is left, and the next run succeeds.

It also ends with the process that has started it.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import ibis
import psutil
import pyarrow as pa
import pytest
from ibis import ir
from pyiceberg.catalog import Catalog

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.engine.spark import SparkEngine
from gourmetgram.lakehouse.schemas import WINDOW_TABLES, WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import OfflineSettings
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.spark import own_server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

AWAY = "the Spark server sc://.* is away; run the task again"


@pytest.fixture
def doomed(quick_spark: pytest.MonkeyPatch) -> Iterator[tuple[OfflineSettings, psutil.Process]]:
    """A running Spark server for a test that kills it, and its process."""
    with own_server() as server:
        yield server


def kill(process: psutil.Process) -> None:
    process.kill()
    process.wait()


def kill_once_it_computes(process: psutil.Process) -> None:
    wait_until(lambda: computes(process), deadline_s=120, what="a task of Spark")
    kill(process)


def computes(process: psutil.Process) -> bool:
    """Tell whether tasks of a query run, by the names of the threads."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/comm")
    return any(thread.read_text(encoding="utf-8").startswith("Executor task") for thread in threads)


def scratch_namespaces(catalog: Catalog) -> list[str]:
    return [name for (name, *_) in catalog.list_namespaces() if name.startswith("scratch_")]


@pytest.mark.parametrize("step", ["load_snapshot", "load", "batches"])
def test_a_driver_killed_before_a_step_leaves_the_windows_as_they_were(
    lakehouse: LakehousePlatform,
    doomed: tuple[OfflineSettings, psutil.Process],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    engine, process = doomed
    lakehouse.publish(*(lakehouse.make(kind) for kind in WINDOWED_KINDS))
    lakehouse.aggregate()
    for kind in WINDOWED_KINDS:
        write_windows(lakehouse.sources.iceberg, kind)
    lakehouse.publish(lakehouse.make("view"))
    lakehouse.aggregate()
    original: Callable[..., Any] = getattr(SparkEngine, step)

    def killed_first(*arguments: Any, **named: Any) -> Any:
        kill(process)
        return original(*arguments, **named)

    with lakehouse.catalog() as catalog:
        before = catalog.load_table(WINDOW_TABLES["view"]).metadata
        with monkeypatch.context() as patched, pytest.raises(TransientError, match=AWAY):
            patched.setattr(SparkEngine, step, killed_first)
            write_windows(lakehouse.sources.iceberg, "view", engine)
        assert catalog.load_table(WINDOW_TABLES["view"]).metadata == before
        assert not scratch_namespaces(catalog)
    assert write_windows(lakehouse.sources.iceberg, "view").windows == 1
    lakehouse.assert_exact()


def ask(engine: Engine, rows: ir.Table) -> None:
    engine.scalar(rows.number.max())


def write(engine: Engine, rows: ir.Table) -> None:
    engine.batches(rows).read_all()


@pytest.mark.parametrize("work", [ask, write])
def test_a_driver_killed_while_its_tasks_run_is_named(
    catalog: Catalog, doomed: tuple[OfflineSettings, psutil.Process], work: Callable[[Engine, ir.Table], None]
) -> None:
    settings, process = doomed
    with (
        ThreadPoolExecutor(1) as other,
        pytest.raises(TransientError, match=AWAY),
        open_engine(catalog, settings) as engine,
    ):
        numbers = engine.load("numbers", ibis.schema({"number": "int64"}), pa.table({"number": range(10_000)}))
        endless = numbers
        for _ in range(3):
            endless = endless.cross_join(numbers.view()).select(number=ibis._.number + ibis._.number_right)
        killed = other.submit(kill_once_it_computes, process)
        try:
            work(engine, endless)
        finally:
            killed.result()
    assert not scratch_namespaces(catalog)


STARTER = """
from gourmetgram.lakehouse.engine.spark_server import spark_address
from tests.support.spark import LOCAL
with spark_address(LOCAL) as address:
    print(address, flush=True)
    input()
"""


@pytest.mark.skipif(which("setpriv") is None, reason="only Linux ends a process with its parent")
@pytest.mark.usefixtures("quick_spark")
def test_a_server_ends_with_the_killed_process_that_has_started_it() -> None:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline().startswith("sc://")
        (server,) = psutil.Process(starter.pid).children()
        starter.kill()
    try:
        server.wait(60)
    finally:
        if server.is_running():
            server.kill()
