"""Clocks of the services: a running process sees a jump at once, and its waits stay as long as they were."""

import subprocess
import sys
from pathlib import Path

import pytest

from gourmetgram.settings import process_environment
from tests.chaos.nemesis.clocks import Clocks

# Prints the jump of both clocks whenever it gets a line, and the time that a wait of librdkafka takes.
_PROGRAM = """
import sys, time
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": "localhost:1", "group.id": "none", "log_level": 0})
real, monotonic = time.time(), time.monotonic()
for _ in sys.stdin:
    elapsed = time.monotonic() - monotonic
    began = time.monotonic()
    consumer.poll(0.2)
    time.sleep(0.01)
    waited = time.monotonic() - began
    print(round((time.time() - real - elapsed - waited) / 100) * 100, waited > 0.1, flush=True)
"""


def test_a_clock_jumps_under_a_running_process_and_its_waits_do_not(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path, ["a_service"])
    if not clocks.possible:
        pytest.skip("the clocks need a C compiler")
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "a_service"],
        env={**process_environment(), **clocks.variables()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def look() -> str:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert look() == "0 True"
        for seconds in (5_400, -5_400):
            clocks.jump("a_service", seconds)
            assert look() == f"{seconds} True"
        clocks.heal()
        assert look() == "0 True"
        process.stdin.close()
