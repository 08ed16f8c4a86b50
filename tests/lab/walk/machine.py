"""Stage 1: the two scripts that prepare a fresh VM, each run twice."""

import re
import tempfile
from pathlib import Path

from tests.lab.commands import check, run
from tests.lab.expectations import expect
from tests.lab.lab import Lab
from tests.lab.places import CHECKOUT
from tests.lab.steps import LabStep, Stage


def _setup(lab: Lab) -> str:
    for _ in range(2):
        ended = run("bash", "scripts/setup.sh", folder=CHECKOUT, timeout=600).must_succeed()
        for line in ("Tools are installed: make, git, curl, Python", "Docker is installed:"):
            expect(line in ended.output, f"no line {line!r}: {ended.tail}")
    expect("may use Docker" in ended.output, f"the second run does not find the group: {ended.tail}")
    expect(ended.seconds < 10, f"the second run took {ended.seconds:.1f} s")
    return ended.output


def _conda(lab: Lab) -> str:
    with tempfile.TemporaryDirectory(prefix="gourmetgram-home-") as name:
        home = {"HOME": name}
        for word in ("new", "there"):
            ended = run("bash", "scripts/conda.sh", folder=CHECKOUT, timeout=300, environment=home).must_succeed()
            expect(re.search(rf"^The environment \S+ is {word}\.$", ended.output, re.M), ended.tail)
        lines = (Path(name) / ".bashrc").read_text(encoding="utf-8").count("# GourmetGram lab")
        expect(lines == 1, f"{lines} lines in .bashrc")
        check("bash", "-ic", "command -v pip | grep lab-environment && pip --version", environment=home)
    return ended.output


STAGE = Stage(
    "machine",
    "1 Machine",
    (
        LabStep("bash ./scripts/setup.sh, twice", "Docker, its plugins, the tools; the second run finds all", _setup),
        LabStep("bash ./scripts/conda.sh, twice", "an environment, active in a new login", _conda),
    ),
)
