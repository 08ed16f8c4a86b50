"""Stage 6: training in the notebook, deployment, decisions by the model."""

import json
import re
from typing import Any

from tests.lab import checkout, pages, stores
from tests.lab.book import notebook
from tests.lab.commands import run
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.places import CHECKOUT
from tests.lab.steps import LabStep, Stage, shell, up
from tests.lab.walk.stage4 import BURST, burst

_ARTIFACTS = ("model.joblib", "scaler.joblib", "encoder.joblib", "metadata.json")
NOTEBOOK = (
    "docker exec jupyter jupyter nbconvert --to notebook --execute --ExecutePreprocessor.timeout=600 "
    "--output-dir /tmp --output executed training.ipynb"
)
_BOOK = notebook("6_training")
_ADDRESS = _BOOK.command("docker exec jupyter jupyter server list")
_SWITCH = _BOOK.command("up -d risk_scoring_service")
_SCORER_LOG = _BOOK.command("docker logs risk-scoring-service")
_BURST = _BOOK.command(BURST.text)
_COMPARISON = _BOOK.query("moderation_decisions")


def _address(lab: Lab) -> str:
    output = shell(lab, _ADDRESS)
    found = re.search(r"http://localhost:8888/\?token=(\w+)", output)
    expect(found, f"no address with a token: {output}")
    token = found.group(1) if found else ""
    page = pages.get(f"8888/tree?token={token}").text
    expect("jupyter" in page.lower(), "/tree is not Jupyter's page")
    return "the address with its token is listed; /tree?token=… opens"


def train(lab: Lab) -> str:
    """Run the notebook from top to bottom.

    Raises:
        NotSeenError: the notebook stopped, or misses an output; the text has its last lines.
    """
    answer = run(*NOTEBOOK.split(), timeout=900).must_succeed()
    notebook = "/tmp/executed.ipynb"  # noqa: S108 - in its container
    executed = json.loads(run("docker", "exec", "jupyter", "cat", notebook).must_succeed().stdout)
    cells = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    text = "\n".join(_text(output) for cell in cells for output in cell["outputs"])
    snapshot = re.search(r"Training from Iceberg snapshot: (\d+)", text)
    expect(snapshot, "the snapshot is not printed")
    metrics = re.search(r"^.*rules \(v1\).*\n(?:.*\n)*?AUC.*$", text, re.MULTILINE)
    expect(metrics, "the metrics of model and rules are not printed side by side")
    horizon = re.search(r"Label horizon: .*", text)
    expect(horizon, "the label horizon is not printed")
    rows = re.search(r"^\d+ rows: .* flagged\)", text, re.MULTILINE)
    lab.notes["snapshot"] = snapshot.group(1) if snapshot else ""
    seen = (
        f"{len(cells)} cells ran in {answer.seconds:.0f} s",
        *(found.group(0) for found in (snapshot, horizon, rows, metrics) if found),
    )
    return "\n".join(seen)


def _text(output: dict[str, Any]) -> str:
    """Text of a cell's output, without pictures."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", ()))


def _artifacts(lab: Lab) -> str:
    folder = CHECKOUT / "model_training" / "workspace" / "models"
    missing = [name for name in _ARTIFACTS if not (folder / name).exists()]
    expect(not missing, f"missing: {missing}")
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    expect(metadata["snapshot_id"] == lab.notes.get("snapshot"), f"snapshot_id {metadata['snapshot_id']}")
    auc = {
        name: values["auc"]
        for name, values in metadata["metrics"].items()
        if isinstance(values, dict) and "auc" in values
    }
    horizon = metadata["label_horizon_minutes"]
    return f"four files; version {metadata['version']}, {metadata['rows_seen']} rows, horizon {horizon} min, AUC {auc}"


def _deployed(lab: Lab) -> str:
    prefix = "models/moderation/"
    keys = [key.removeprefix(prefix) for key in stores.objects(lab, "gourmetgram-datalake", prefix)]
    missing = [name for name in _ARTIFACTS if name not in keys]
    expect(not missing, f"not under {prefix}: {missing}")
    return ", ".join(sorted(keys))


def _switch(lab: Lab) -> str:
    checkout.write_setting("INFERENCE_MODE", "model")
    lab.do(_SWITCH.compose)
    lab.wait_healthy(["risk_scoring_service"], 60)
    pieces = (
        "Checking MinIO for new model artifacts...",
        "Downloading model from s3://gourmetgram-datalake/models/moderation/",
        "Model loaded successfully (version: 1, trained on",
    )
    return lab.wait_log("risk_scoring_service", pieces, 60)


def _model_rows(lab: Lab) -> str:
    burst(lab)
    query = "SELECT inference_mode, model_version, model_score, recommendation FROM moderation WHERE target_id = %s"

    def probe() -> str:
        rows = stores.sql(lab, query, (lab.notes["image"],))
        expect(len(rows) == 2, f"rows {rows}")
        good = all(mode == "model" and str(version) == "1" and score is not None for mode, version, score, _ in rows)
        expect(good, f"rows {rows}")
        return f"{len(rows)} rows: {rows}"

    return until(probe, 15)


def _comparison(lab: Lab) -> str:
    rows = stores.sql(lab, _COMPARISON)
    expect({row[0] for row in rows} >= {"heuristic", "model"}, f"rows {rows}")
    return "; ".join(str(tuple(map(str, row))) for row in rows)


def steps(trained: LabStep) -> tuple[LabStep, ...]:
    """Steps of the stage; `trained` runs the notebook."""
    return (
        up(_BOOK.command("up -d --build jupyter"), healthy=["jupyter"], deadline_s=900),
        LabStep(_ADDRESS.text, "an address with a token, which opens", _address, typed=(_ADDRESS,)),
        trained,
        LabStep("ls models/", "model, scaler, encoder, metadata.json with snapshot_id", _artifacts),
        LabStep("MinIO: models/moderation/", "the four objects of the last cell", _deployed),
        LabStep(
            f"INFERENCE_MODE=model in docker/.env; {_SWITCH.short}; {_SCORER_LOG.text}",
            "the three load lines",
            _switch,
            typed=(_SWITCH, _SCORER_LOG),
        ),
        LabStep("burst again; rows of IMAGE_ID", "inference_mode = model, model_version", _model_rows, typed=(_BURST,)),
        LabStep("SQL: comparison by inference_mode", "one row per mode", _comparison),
    )


STAGE = Stage(
    "6",
    "6 Training and deployment",
    steps(LabStep(NOTEBOOK, "snapshot id, label horizon, metrics next to the heuristic's", train, needed=True)),
)
