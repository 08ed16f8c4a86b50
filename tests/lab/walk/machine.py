"""The two scripts that prepare a fresh VM, run on this machine: they may be repeated."""

import re
import tempfile
from pathlib import Path

from tests.lab import shell
from tests.lab.errors import expect
from tests.lab.lab import Lab
from tests.lab.places import CHECKOUT
from tests.lab.steps import Stage, Step


def _setup(lab: Lab) -> str:
    for _ in range(2):
        answer = shell.run(["bash", "scripts/setup.sh"], folder=CHECKOUT, timeout=600)
        expect(answer.code == 0, answer.tail)
        for line in ("Tools are installed: make, git, curl, Python", "Docker is installed:"):
            expect(line in answer.output, f"no line {line!r}: {answer.tail}")
    expect("may use Docker" in answer.output, f"the second run does not find the group: {answer.tail}")
    expect(answer.seconds < 10, f"the second run took {answer.seconds:.1f} s")
    return answer.output.strip()


def _conda(lab: Lab) -> str:
    with tempfile.TemporaryDirectory(prefix="gourmetgram-home-") as name:
        home = Path(name)
        for word in ("new", "there"):
            answer = shell.run(["bash", "scripts/conda.sh"], folder=CHECKOUT, timeout=300, environment={"HOME": name})
            expect(answer.code == 0, answer.tail)
            expect(re.search(rf"^The environment \S+ is {word}\.$", answer.output, re.M), answer.tail)
        lines = (home / ".bashrc").read_text(encoding="utf-8").count("# GourmetGram lab")
        expect(lines == 1, f"{lines} lines in .bashrc")
        shell.check(
            ["bash", "-ic", "command -v pip | grep lab-environment && pip --version"], environment={"HOME": name}
        )
    return answer.output.strip()


STAGE = Stage(
    "machine",
    "1 Machine",
    (
        Step(
            "bash ./scripts/setup.sh, twice", "Docker with its plugins, and the tools; the second run finds all", _setup
        ),
        Step("bash ./scripts/conda.sh, twice", "an environment, active in a new login", _conda),
    ),
)
