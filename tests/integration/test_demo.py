"""The demonstration, as `make demo` runs it: from traffic to a model's decision, on a stack of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gourmetgram.local.airflow import AIRFLOW
from gourmetgram.local.blueprint import DEFAULT_SERVICES
from gourmetgram.local.services import inherited_environment
from gourmetgram.local.stack import Stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

PAST = {
    "GENERATOR_BACKFILL_DAYS": "7",
    "GENERATOR_BACKFILL_IMAGES": "600",
    "GENERATOR_BACKFILL_EVENTS": "40000",
}


@pytest.fixture(name="stack")
def stack_fixture() -> Iterator[Stack]:
    demonstrated = Stack("demo-test")
    demonstrated.wipe()
    yield demonstrated
    demonstrated.wipe()


def test_an_image_goes_viral_becomes_training_data_and_a_model_judges_the_next(stack: Stack, tmp_path: Path) -> None:
    report = tmp_path / "comparison.html"
    command = [sys.executable, "-m", "gourmetgram.cli.main", "--stack", stack.name, "demo", "--seconds", "2"]
    done = subprocess.run(
        [*command, "--html", str(report)],
        env={**inherited_environment(), **PAST, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    steps = re.findall(r"^(\d+)\. ", done.stdout, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 13)]
    # Once by the rules alone, once by the rules with the model beside them, once by the model.
    assert len(re.findall(r"^  viral: 0\.00 SAFE", done.stdout, re.MULTILINE)) >= 2
    assert "(model, model version 1," in done.stdout
    for conclusion in ("No differences: the features are equal.", "The stores agree.", "Everything stays up"):
        assert conclusion in done.stdout
    assert "<html" in report.read_text()
    assert {*DEFAULT_SERVICES, *AIRFLOW} <= {part.name for part in stack.status() if part.pid is not None}
