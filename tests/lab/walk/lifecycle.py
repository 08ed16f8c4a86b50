"""The model's life on containers: MLflow, the scripts of both projects, and the registered models seen from outside."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from tests.lab import stores
from tests.lab.book import Typed, compose
from tests.lab.commands import Ended, run
from tests.lab.expectations import expect
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage, up
from tests.lab.walk import publishing

_MLFLOW: Final = "http://127.0.0.1:5000"
_SCRIPT_S: Final = 600
_READER: Final = Path(__file__).with_name("registry_reader.py")
_SCRIPTS: Final = "docker exec jupyter python -m model_training.lifecycle"
_PROJECTS: Final = {
    "moderation": "gourmetgram_dev.moderation.moderation_model",
    "marvel": "mlops_dev.marvel_characters.marvel_character_model",
}
"""Registered names of each project, without `_basic` and `_custom`."""
_DATASETS: Final = {
    "moderation": {"training": "moderation.training_data", "testing": "moderation.training_data"},
    "marvel": {"training": "marvel_characters.train_set", "testing": "marvel_characters.test_set"},
}
# Without the platform's code on its path: all that the model needs beside packages comes out of the model.
_PLAIN_LOAD: Final = (
    "import mlflow, sys; model = mlflow.pyfunc.load_model('models:/{name}@latest-model'); "
    "print(model.predict(model.input_example)); "
    "print(sys.modules['model_training.lifecycle.wrappers'].__file__)"
)


def _basic_script(project: str) -> Typed:
    return Typed(f"{_SCRIPTS}.train_register_basic_model --project {project} --git_sha abcd12345 --branch main")


def _custom_script(project: str) -> Typed:
    options = "--env dev --git_sha abcd12345 --job_run_id 1 --branch main"
    return Typed(f"{_SCRIPTS}.train_register_custom_model --project {project} {options}")


def _only_for_this_machine(_lab: Lab) -> str:
    path = f"{_MLFLOW}/api/2.0/mlflow/experiments/search?max_results=1"
    codes = {}
    for host in ("127.0.0.1:5000", "localhost:5000", "mlflow:5000", "elsewhere.example"):
        answer = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {host}", path)
        codes[host] = answer.must_succeed().stdout
    expect(list(codes.values()) == ["200", "200", "200", "403"], f"answers by name {codes}")
    return f"answers by name {codes}"


def _scripted(command: Typed) -> Ended:
    """Run a training script, which takes minutes on a busy machine."""
    return run("bash", "-c", command.here, timeout=_SCRIPT_S).must_succeed()


def _train_basic(project: str) -> LabStep:
    command, name = _basic_script(project), f"{_PROJECTS[project]}_basic"

    def see(_lab: Lab) -> str:
        output = _scripted(command).output
        last = output.splitlines()[-1]
        found = re.search(rf"{re.escape(name)} version 1 has the alias latest-model after .*", last)
        expect(found, f"the last line: {last}")
        return found.group(0) if found else ""

    return LabStep(command.text, f"{name} version 1 with the alias latest-model", see, needed=True)


def _train_custom(project: str) -> LabStep:
    command = _custom_script(project)

    def see(_lab: Lab) -> str:
        lines = _scripted(command).stdout.splitlines()
        expect(lines[-2:] == ["model_version=1", "model_updated=1"], f"the last lines: {lines[-2:]}")
        return ", ".join(lines[-2:])

    return LabStep(command.text, "model_version=1, model_updated=1", see, needed=True)


def _read(lab: Lab, project: str) -> dict[str, Any]:
    """State of a project in the registry and the tables, read by MLflow's client on this machine."""
    variables = stores.iceberg_variables(lab) | {"MLFLOW_TRACKING_URI": _MLFLOW, "MLFLOW_DISABLE_TELEMETRY": "true"}
    answer = run(sys.executable, _READER, _PROJECTS[project], timeout=_SCRIPT_S, environment=variables).must_succeed()
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def _registered(project: str) -> LabStep:
    def see(lab: Lab) -> str:
        found = _read(lab, project)
        # The script of the custom model trains and registers a basic one once more.
        expect(found["aliases"] == {"basic": "2", "custom": "1"}, f"versions behind the alias: {found['aliases']}")
        expect(found["basic"]["equal"] and found["basic"]["rows"], f"predictions by three addresses: {found['basic']}")
        expect(found["custom"]["equal"], f"predictions of the wrapper by two ways: {found['custom']}")
        tables = {purpose: each["table"] for purpose, each in found["datasets"].items()}
        expect(tables == _DATASETS[project], f"datasets of the run: {tables}")
        for purpose, each in found["datasets"].items():
            expect(each["rows"] == each["logged_rows"] > 0, f"{purpose}: {each}")
        expect(found["tags"] == {"git_sha": "abcd12345", "branch": "main", "run_id": "1"}, f"tags {found['tags']}")
        lab.notes[f"{project} run"] = found["run_id"]
        return json.dumps({name: found[name] for name in ("aliases", "basic", "custom", "datasets")})

    expected = "both aliases; equal predictions by models:/id, runs:/, alias; datasets load the snapshots' rows"
    return LabStep(f"MLflow's client on this machine: {_PROJECTS[project]}_basic, _custom", expected, see)


def _plain_load(project: str) -> LabStep:
    name = f"{_PROJECTS[project]}_custom"

    def see(_lab: Lab) -> str:
        program = _PLAIN_LOAD.format(name=name)
        command = ("docker", "exec", "-e", "PYTHONPATH=", "-w", "/tmp", "jupyter", "python", "-c", program)  # noqa: S108
        lines = run(*command, timeout=_SCRIPT_S).must_succeed().stdout.splitlines()
        expect("prediction" in lines[-2] and not lines[-1].startswith("/opt/"), f"the last lines: {lines[-2:]}")
        return f"{lines[-2]}, by the code that the model carries"

    return LabStep(f"mlflow.pyfunc.load_model of {name} without the platform's code", "a prediction", see)


def _memory(lab: Lab) -> str:
    answer = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", lab.container("mlflow"))
    expect(lab.inspect("mlflow")["RestartCount"] == 0, "it was restarted")
    return answer.must_succeed().stdout


STAGE = Stage(
    "lifecycle",
    "The model's life",
    (
        up(compose("up -d mlflow"), healthy=["mlflow"], deadline_s=180),
        LabStep("curl :5000 under four names", "200 for mlflow and this machine, 403 else", _only_for_this_machine),
        *(
            step
            for project in _PROJECTS
            for step in (
                _train_basic(project),
                _train_custom(project),
                _registered(project),
                _plain_load(project),
            )
        ),
        *publishing.STEPS,
        LabStep("docker stats mlflow", "memory of the server; never restarted", _memory),
    ),
)
