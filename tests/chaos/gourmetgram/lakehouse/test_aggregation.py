"""Processes of the aggregation are killed again and again while events flow; the sums are equal in the end."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from gourmetgram.lakehouse.engine import scratch_tables
from gourmetgram.lakehouse.schemas import NAMESPACE
from gourmetgram.settings import OfflineSettings
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.spark import own_server

pytestmark = [pytest.mark.servers, pytest.mark.chaos]

KILL_AFTER = [
    "events: tables exist",
    "events: ranges frozen",
    "events: batch read",
    "events: files written",
    "events: committed",
    "view: windows found",
    "view: days written",
    "view: files written",
    "view: committed",
    "comment: files written",
]


# With the longest wait in seconds before the kill: the executors work for some seconds.
KILL_ON_SPARK_AFTER = {
    "events: ranges frozen": 0.1,
    "events: session opened": 5.0,
    "events: files written": 0.1,
    "events: committed": 0.1,
    "view: windows found": 5.0,
    "view: files written": 0.1,
}


@contextmanager
def _program(lakehouse: LakehousePlatform) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.aggregate_once"]
    with subprocess.Popen(command, env=lakehouse.environment(), stdout=subprocess.PIPE, text=True) as process:
        yield process


def _wait_for(process: subprocess.Popen[str], step: str) -> None:
    assert process.stdout is not None
    assert any(line.strip() == step for line in process.stdout), f"the process ended before '{step}'"


def _kill_after(lakehouse: LakehousePlatform, step: str, pause_s: float) -> None:
    """Start the tasks, and SIGKILL them a moment after a step: somewhere in the next one."""
    with _program(lakehouse) as process:
        _wait_for(process, step)
        try:
            process.wait(pause_s)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(30)


@contextmanager
def _traffic(lakehouse: LakehousePlatform, chance: random.Random) -> Iterator[None]:
    """Publish events of all kinds during a block."""
    stop = threading.Event()

    def traffic() -> None:
        while not stop.is_set():
            for kind in ("view", "comment", "flag", "upload"):
                lakehouse.publish_many(chance.randrange(1, 20), kind)
            stop.wait(0.2)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(traffic)
        try:
            yield
        finally:
            stop.set()
        running.result()


@pytest.mark.timeout(600)
def test_ten_kills_under_traffic_lose_and_repeat_nothing(lakehouse: LakehousePlatform) -> None:
    chance = random.Random(7)
    with _traffic(lakehouse, chance):
        for step in KILL_AFTER:
            _kill_after(lakehouse, step, chance.random() * 0.1)
    lakehouse.run()
    lakehouse.assert_exact()


@pytest.mark.timeout(900)
def test_kills_of_a_program_that_works_on_spark_lose_and_repeat_nothing(
    lakehouse: LakehousePlatform, spark: OfflineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    lakehouse.engine = spark
    with _traffic(lakehouse, chance):
        for step, longest_s in KILL_ON_SPARK_AFTER.items():
            _kill_after(lakehouse, step, chance.random() * longest_s)
    lakehouse.publish_many(20)
    # Each killed program is taken for one of yesterday.
    monkeypatch.setattr(scratch_tables, "ABANDONED_AFTER_S", 0)
    lakehouse.run()
    lakehouse.assert_exact()
    with lakehouse.catalog() as catalog:
        assert catalog.list_namespaces() == [(NAMESPACE,)]


@pytest.mark.timeout(900)
def test_kills_of_the_spark_server_lose_and_repeat_nothing(
    lakehouse: LakehousePlatform, quick_spark: pytest.MonkeyPatch
) -> None:
    for step in ("events: session opened", "view: windows found"):
        lakehouse.publish_many(50)
        with own_server() as (lakehouse.engine, server), _program(lakehouse) as program:
            _wait_for(program, step)
            server.kill()
            assert program.wait(120) != 0
    lakehouse.engine = OfflineSettings()
    lakehouse.run()
    lakehouse.assert_exact()
