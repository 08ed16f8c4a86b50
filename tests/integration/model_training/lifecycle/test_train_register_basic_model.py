"""The program from its arguments to the alias, on real servers."""

import re
import sys
from pathlib import Path
from subprocess import run

import pytest
import yaml

from gourmetgram.settings import PROJECT_ROOT, process_environment
from model_training.lifecycle.config import CONFIG_FILES
from model_training.lifecycle.registration import ALIAS
from tests.support.lifecycle_platform import QUICK, LifecyclePlatform

pytestmark = pytest.mark.servers

PROGRAM = PROJECT_ROOT / "model_training" / "lifecycle" / "train_register_basic_model.py"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (.*)")


def test_it_ends_with_version_alias_figures_and_page(lifecycle: LifecyclePlatform, tmp_path: Path) -> None:
    path = tmp_path / "project.yml"
    entries = yaml.safe_load(CONFIG_FILES["marvel"].read_text())
    entries |= {"acc": {"catalog_name": lifecycle.name, "schema_name": "characters"}, "parameters": QUICK}
    path.write_text(yaml.safe_dump(entries | {"experiment_name_basic": f"/Shared/{lifecycle.name}"}))
    command = [sys.executable, str(PROGRAM), "--config", str(path), "--env", "acc", "--git_sha", "fedc54321"]
    done = run(
        [*command, "--branch", "try"],
        capture_output=True,
        text=True,
        check=False,
        env=process_environment() | lifecycle.environment,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = [LINE.fullmatch(line) for line in done.stderr.splitlines()]
    assert None not in lines, done.stderr
    name = f"{lifecycle.name}.characters.marvel_character_model_basic"
    version = lifecycle.client.get_model_version_by_alias(name, ALIAS)
    assert version.tags == {"git_sha": "fedc54321", "branch": "try"}
    last = lines[-1]
    assert last is not None
    assert last[1].startswith(f"{name} version {version.version} has the alias {ALIAS} after ")
    assert version.run_id is not None
    figures = lifecycle.client.get_run(version.run_id).data.metrics
    assert f"f1_score {figures['f1_score']:.4f}" in last[1]
    experiment = lifecycle.client.get_experiment_by_name(f"/Shared/{lifecycle.name}")
    assert experiment is not None
    page = (
        f"{lifecycle.environment['MLFLOW_TRACKING_URI']}/#/experiments/{experiment.experiment_id}/runs/{version.run_id}"
    )
    assert last[1].endswith(f"Run: {page}")
