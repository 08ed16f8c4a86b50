"""A process that aggregates is killed again and again while events flow; the sums are equal in the end."""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.lakehouse_platform import LakehousePlatform

pytestmark = [pytest.mark.servers, pytest.mark.chaos]

KILL_AFTER = [
    "events: tables exist",
    "events: ranges frozen",
    "events: batch read",
    "events: files written",
    "events: committed",
    "view: windows found",
    "view: day written",
    "view: files written",
    "view: committed",
    "comment: files written",
]


def _kill_after(lakehouse: LakehousePlatform, step: str, pause_s: float) -> None:
    """Start the tasks, and SIGKILL them a moment after a step: somewhere in the next one."""
    command = [sys.executable, "-m", "tests.support.aggregate_once"]
    with subprocess.Popen(command, env=lakehouse.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.strip() == step for line in process.stdout), f"the process ended before '{step}'"
        try:
            process.wait(pause_s)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(30)


@pytest.mark.timeout(600)
def test_ten_kills_under_traffic_lose_and_repeat_nothing(lakehouse: LakehousePlatform) -> None:
    chance = random.Random(7)
    stop = threading.Event()

    def traffic() -> None:
        while not stop.is_set():
            for kind in ("view", "comment", "flag", "upload"):
                lakehouse.publish_many(chance.randrange(1, 20), kind)
            stop.wait(0.2)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(traffic)
        try:
            for step in KILL_AFTER:
                _kill_after(lakehouse, step, chance.random() * 0.1)
        finally:
            stop.set()
        running.result()
    lakehouse.run()
    lakehouse.assert_exact()
