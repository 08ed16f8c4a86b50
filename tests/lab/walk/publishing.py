"""From the registry to the scorer and back: a registered model in service, its decisions traced, the retraining DAG."""

import json
import sys
from pathlib import Path
from typing import Final

from gourmetgram_tools.orchestration import AirflowClient
from tests.lab import pages, stores
from tests.lab.commands import Ended, run
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.steps import LabStep
from tests.lab.walk.stage4 import burst

_GOURMETGRAM: Final = Path(sys.executable).with_name("gourmetgram")
_NAME: Final = "gourmetgram_dev.moderation.moderation_model_basic"
_PUBLISH: Final = ("models", "publish", "--from", f"models:/{_NAME}@latest-model", "--target", "compose")
_REASON: Final = "the rehearsal serves it whatever its figures"
_DAG: Final = "model_retraining"
_DAG_S: Final = 900
_COMMAND_S: Final = 300


def _run(lab: Lab, *words: str) -> Ended:
    return run(_GOURMETGRAM, *words, timeout=_COMMAND_S, environment={**lab.login(), "COLUMNS": "160"})


def _publish(lab: Lab) -> str:
    """Publish what stands behind the alias; the gate may refuse, and then a reason is given."""
    answer = _run(lab, *_PUBLISH)
    verdict = next((line for line in answer.output.splitlines() if "The candidate is" in line), "")
    expect(verdict, f"no verdict of the gate: {answer.tail}")
    better = "is better" in verdict
    expect(better == (answer.code == 0), f"exit code {answer.code} after: {verdict}")
    if not better:
        _run(lab, *_PUBLISH, "--force", _REASON).must_succeed()
    lines = lab.wait_log("risk_scoring_service", ["Model loaded successfully (version: 2"], 90)
    return f"{verdict}\n{lines}"


def _decisions(lab: Lab) -> str:
    burst(lab)
    query = "SELECT inference_mode, model_version, model_score FROM moderation WHERE target_id = %s"

    def probe() -> str:
        rows = stores.sql(lab, query, (lab.notes["image"],))
        good = [mode == "model" and str(version) == "2" and score is not None for mode, version, score in rows]
        expect(len(rows) == 2 and all(good), f"rows {rows}")
        return f"{len(rows)} rows: {rows}"

    return until(probe, 15)


def _trace(lab: Lab) -> str:
    output = _run(lab, "trace", lab.notes["image"], "--target", "compose").must_succeed().output
    words = " ".join(output.split())
    for piece in (_NAME, lab.notes["moderation run"], "Iceberg snapshot"):
        expect(piece in words, f"the trace does not name {piece}: {output[-1500:]}")
    return next(line.strip() for line in output.splitlines() if "Iceberg snapshot" in line)


def _retrain(lab: Lab) -> str:
    with AirflowClient.connect(f"{pages.HOST}:8080", "admin", lab.settings.airflow_admin_password) as airflow:
        state = airflow.wait(_DAG, airflow.trigger(_DAG, {"force": True}), _DAG_S)
    tasks = {task.task_id: task.state for task in state.tasks}
    expect(set(tasks) == {"check_drift", "train", "register", "publish", "report"}, f"tasks {tasks}")
    expect(set(tasks.values()) <= {"success", "skipped"} and tasks["report"] == "success", f"tasks {tasks}")
    times = [f"{task.task_id} {task.state} {task.seconds or 0:.0f} s" for task in state.tasks]
    return json.dumps(times)


STEPS: Final = (
    LabStep(
        f"gourmetgram {' '.join(_PUBLISH)}", "the gate's verdict; published, if need be with --force", _publish, True
    ),
    LabStep("burst; rows of IMAGE_ID", "inference_mode = model, model_version 2", _decisions, needed=True),
    LabStep("gourmetgram trace IMAGE_ID --target compose", "registered name, MLflow run, snapshot", _trace),
    LabStep(f"trigger {_DAG} with force", "five tasks, none failed; a report", _retrain),
)
