"""The platform's own demonstration and tests, on the lab's containers: only settings differ from the local stack."""

import sys
from pathlib import Path

from tests.lab.commands import run
from tests.lab.expectations import expect
from tests.lab.lab import PROJECT, Lab
from tests.lab.places import COMPOSE_FILE, OUTPUT
from tests.lab.steps import LabStep, Stage
from tests.lab.walk.stage5 import PAST

_BIN = Path(sys.executable).parent
_END_TO_END = "tests/integration/platform/test_end_to_end.py"
_DEMO_S = 900.0
_TESTS_S = 600.0
_RULES = {"INFERENCE_MODE": "heuristic", "POLICY_VERSION": "v1"}
"""Win over docker/.env."""


def _demo(lab: Lab) -> str:
    command = (_BIN / "gourmetgram", "demo", "--target", "compose", "--seconds", "10")
    variables = {
        **lab.login(),
        **PAST,
        "AIRFLOW_ADMIN_PASSWORD": lab.settings.airflow_admin_password,
        "POLICY_VERSION": "v1",
        "COMPOSE_FILE": str(COMPOSE_FILE),
        "COMPOSE_PROJECT_NAME": PROJECT,
        "COLUMNS": "120",
    }
    report = OUTPUT / "comparison.html"
    answer = run(*command, "--html", report, timeout=_DEMO_S, environment=variables).must_succeed()
    expect("The stores agree." in answer.output, answer.tail)
    return answer.stdout.splitlines()[-1]


def _tests(lab: Lab) -> str:
    lab.do("stop data_generator")
    lab.compose("up -d --no-deps risk_scoring_service", environment=_RULES).must_succeed()
    lab.wait_healthy(["risk_scoring_service"])
    variables = {**lab.login(), "GOURMETGRAM_TEST_TARGET": "compose"}
    answer = run(_BIN / "pytest", "-n", "0", "-q", _END_TO_END, timeout=_TESTS_S, environment=variables)
    answer.must_succeed()
    lab.do("up -d risk_scoring_service data_generator")
    lab.wait_healthy(["risk_scoring_service", "data_generator"])
    return next(line for line in answer.output.splitlines() if " passed" in line)


STAGE = Stage(
    "target",
    "The same commands as on the local stack",
    (
        LabStep("gourmetgram demo --target compose", "from traffic to the model's decisions; the stores agree", _demo),
        LabStep(f"GOURMETGRAM_TEST_TARGET=compose pytest {_END_TO_END}", "all pass", _tests),
    ),
)
