"""The extended lab's own commands (section 3 of the contract) on the same platform."""

import re
import sys

from tests.lab import checkout, stores
from tests.lab.commands import run
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.places import CHECKOUT
from tests.lab.steps import LabStep, Stage

_LARGE_ROWS = 200_000
_NEWEST = (
    "SELECT image_id::text, inference_mode, recommendation, trigger_type, created_at FROM moderation_decisions "
    "ORDER BY created_at DESC LIMIT 10"
)


def _simulate(lab: Lab) -> str:
    lab.do("stop data_generator")
    answer = run(sys.executable, "scripts/simulate_viral.py", folder=CHECKOUT).must_succeed()
    found = re.search(r"Simulating viral burst for image: ([0-9a-f-]{36})", answer.output)
    expect(found, f"no image named: {answer.tail}")
    for line in ("Publishing 110 view events to 'gourmetgram.views'...", "Done. 110 view events published."):
        expect(line in answer.output, f"no line {line!r}")
    image = found.group(1) if found else ""
    lab.notes["simulated"] = image
    return f"image {image}; 110 view events in {answer.seconds:.1f} s"


def _lines(lab: Lab) -> str:
    id8 = lab.notes["simulated"][:8]
    seen = [
        lab.wait_log(
            "stream_consumer", [f"VIRAL CONTENT ALERT! Image {id8}", f"Published moderation request for {id8}"], 15
        ),
        lab.wait_log("risk_scoring_service", [f"Image {id8}... → probability=", f"decision for {id8}"], 15),
    ]
    return "\n".join(seen)


def _heuristic(lab: Lab) -> str:
    checkout.write_setting("INFERENCE_MODE", None)
    checkout.write_setting("POLICY_VERSION", "v2")
    lab.do("up -d risk_scoring_service")
    lab.wait_healthy(["risk_scoring_service"], 60)
    _simulate(lab)

    def probe() -> str:
        rows = stores.sql(lab, _NEWEST)
        expect(rows and rows[0][0] == lab.notes["simulated"], f"newest row: {rows[:1]}")
        expect(rows[0][1] == "heuristic", f"newest row: {rows[0]}")
        policy = "SELECT policy_version FROM moderation WHERE target_id = %s ORDER BY created_at DESC LIMIT 1"
        version = stores.sql(lab, policy, (rows[0][0],))[0][0]
        expect(version == "v2", f"policy_version {version}")
        return f"newest row: {rows[0][1]}, {rows[0][2]}, {rows[0][3]}; policy_version {version}"

    return until(probe, 15)


def _large(lab: Lab) -> str:
    """Run the trainer's command with fewer rows; the platform's tests make all six millions."""
    variables = stores.iceberg_variables(lab) | {"LARGE_ROWS": str(_LARGE_ROWS)}
    options = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    words = (*options, "gourmetgram-trainer:latest", "python3", "generate_large_dataset.py")
    answer = run("docker", "run", "--rm", "--network", "host", *words, timeout=300).must_succeed()
    rows = stores.table_rows(lab, "moderation.large_training_data")
    expect(rows == _LARGE_ROWS, f"{rows} rows")
    return f"{rows} rows in {answer.seconds:.0f} s"


STAGE = Stage(
    "extended",
    "Extended lab",
    (
        LabStep("DC stop data_generator; python3 scripts/simulate_viral.py", "its three lines", _simulate),
        LabStep(
            "docker logs stream-consumer; docker logs risk-scoring-service", "alert, request, decision, stored", _lines
        ),
        LabStep(
            "POLICY_VERSION=v2 in .env; DC up -d risk_scoring_service; script again; SQL on moderation_decisions",
            "newest row heuristic, policy_version v2",
            _heuristic,
        ),
        LabStep(
            "docker run … gourmetgram-trainer:latest python3 generate_large_dataset.py (200,000 rows)",
            "the table",
            _large,
        ),
    ),
)
