"""Stage 5: Airflow, the Iceberg tables, training data."""

import json
import re
import time
from contextlib import AbstractContextManager

from gourmetgram_tools.orchestration import AirflowClient
from tests.lab import pages, stores
from tests.lab.book import notebook
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage, shell, up

_AGGREGATION = "redpanda_event_aggregation"
TRAINING = "moderation_training"
_RETRAINING = "model_retraining"
_TASKS = {
    _AGGREGATION: [
        "consume_and_aggregate_events",
        "write_view_windows",
        "write_comment_windows",
        "write_flag_windows",
        "commit_checkpoint",
    ],
    TRAINING: ["extract_data", "transform_features", "load_iceberg"],
}
_WINDOWS = tuple(f"event_aggregations.{kind}_windows_5min" for kind in ("view", "comment", "flag"))
_RUN_S = 600
# With a backfill the later stages take minutes: labels need a day, and a model needs some hundred images.
_BOOK = notebook("5_iceberg")
_PAST = _BOOK.command("-e GENERATOR_BACKFILL_EVENTS=40000 data_generator")
PAST = {name: value for name, value in _PAST.variables.items() if name != "GENERATOR_MODE"}
"""Size of the backfill."""
_CHECKPOINT = _BOOK.command("airflow variables get redpanda_event_aggregation_checkpoint")
_VERIFY = _BOOK.command("verify_pipeline.py")


def _session(lab: Lab) -> AbstractContextManager[AirflowClient]:
    return AirflowClient.connect(f"{pages.HOST}:8080", "admin", lab.settings.airflow_admin_password)


def _airflow(lab: Lab) -> str:
    with _session(lab) as airflow:

        def probe() -> str:
            found = {dag["dag_id"]: dag["is_paused"] for dag in airflow.dags()}
            expected = dict.fromkeys((_AGGREGATION, TRAINING, _RETRAINING), True)
            expect(found == expected, f"DAGs, and True for paused: {found}")
            return f"login works; {', '.join(found)}, all paused"

        return until(probe, 60)


def run_dag(lab: Lab, dag: str) -> str:
    """Trigger a DAG, and wait until all its tasks are green.

    Raises:
        PlatformError: Airflow does not answer, or a task did not succeed in time.
    """
    with _session(lab) as airflow:
        state = airflow.wait(dag, airflow.trigger(dag), _RUN_S)
    tasks = {task.task_id: task.state for task in state.tasks}
    expect(tasks == dict.fromkeys(_TASKS[dag], "success"), f"the run ended {state.state}: {tasks}")
    return ", ".join(f"{task.task_id} {task.seconds or 0:.1f} s" for task in state.tasks)


def _run(dag: str) -> LabStep:
    return LabStep(f"trigger {dag}", f"{len(_TASKS[dag])} green tasks", lambda lab: run_dag(lab, dag), needed=True)


def _past(lab: Lab) -> str:
    before = stores.counts(lab)
    output = lab.do(_PAST.compose, timeout=600)
    after = stores.counts(lab)
    expect(
        after["images"] >= before["images"] + int(PAST["GENERATOR_BACKFILL_IMAGES"]),
        f"images {before['images']} -> {after['images']}",
    )
    return f"{output.splitlines()[-1]}; {until(lambda: stores.in_outbox(lab, 99), 180)}"


def _windows(lab: Lab) -> str:
    counts = {table: stores.table_rows(lab, table) for table in (*_WINDOWS, "event_aggregations.events")}
    events = sum(len(stores.messages(topic)) for topic in stores.EVENT_TOPICS)
    expect(all(counts.values()), f"rows {counts}")
    bronze = counts["event_aggregations.events"]
    expect(bronze <= events, f"{bronze} rows in events, but only {events} messages")
    return ", ".join(f"{table} {count} rows" for table, count in counts.items())


def _folders(table: str) -> LabStep:
    prefix = f"warehouse/{table.replace('.', '/')}/"

    def see(lab: Lab) -> str:
        keys = stores.objects(lab, "gourmetgram-datalake", prefix)
        folders = sorted({key.removeprefix(prefix).split("/")[0] for key in keys})
        expect(folders == ["data", "metadata"], f"folders {folders}")
        expect(any(key.endswith(".parquet") for key in keys), "no Parquet file")
        return f"data/ and metadata/, {len(keys)} objects"

    return LabStep(f"MinIO: gourmetgram-datalake, {prefix}", "folders data/ (Parquet) and metadata/", see)


def _checkpoint(lab: Lab) -> str:
    content = json.loads(shell(lab, _CHECKPOINT, stdout_only=True))
    keys = ["version", "offsets", "updated_at", "last_run_id", "bootstrap"]
    expect(sorted(content) == sorted(keys), f"keys {sorted(content)}")
    expect(set(content["offsets"]) == set(stores.EVENT_TOPICS), f"topics {sorted(content['offsets'])}")
    return f"five keys; bootstrap {content['bootstrap']}, offsets of {len(content['offsets'])} topics"


def _encrypted(lab: Lab) -> str:
    pages.adminer_tables(lab, ("variable",), "airflow")
    query = "SELECT is_encrypted, val FROM variable WHERE key = %s"
    found = stores.sql(lab, query, (f"{_AGGREGATION}_checkpoint",), "airflow")
    expect(len(found) == 1 and found[0][0] is True, f"rows {found}")
    expect("offsets" not in found[0][1], "the value is readable")
    return "one row, is_encrypted true, val is no plain text"


def _training_rows(lab: Lab) -> str:
    count = stores.table_rows(lab, "moderation.training_data")
    with stores.catalog(lab) as catalog:
        columns = len(catalog.load_table("moderation.training_data").schema().columns)
    expect(count > 0 and columns == 25, f"{count} rows, {columns} columns")
    return f"{count} rows, {columns} columns"


def _verify(lab: Lab) -> str:
    started = time.monotonic()
    output = shell(lab, _VERIFY)
    seconds = time.monotonic() - started
    for piece in ("Table: moderation.training_data", "Row count: ", "Sample rows:"):
        expect(piece in output, f"no line {piece!r}: {output[-300:]}")
    expect(seconds < 10, f"it took {seconds:.1f} s")
    count = re.search(r"Row count: \d+", output)
    return f"exit 0 after {seconds:.1f} s, {count.group(0) if count else ''}"


def steps(filled: LabStep) -> tuple[LabStep, ...]:
    """Steps of the stage; `filled` gives the platform enough images before the aggregation."""
    return (
        up(
            _BOOK.command("up -d airflow-init airflow-webserver airflow-scheduler nimtable nimtable-web"),
            healthy=["airflow-webserver", "airflow-scheduler", "airflow-dag-processor", "nimtable", "nimtable-web"],
            done=["airflow-init"],
            deadline_s=420,
        ),
        LabStep("Airflow :8080, admin / gourmetgram_airflow", "the three DAGs, paused", _airflow, needed=True),
        filled,
        _run(_AGGREGATION),
        LabStep("Nimtable :3000 (read with PyIceberg)", "the three window tables and events", _windows),
        _folders(_WINDOWS[0]),
        LabStep(_CHECKPOINT.text, "clean JSON with the five keys", _checkpoint, typed=(_CHECKPOINT,)),
        LabStep("Adminer: database airflow, table variable", "is_encrypted true, val encrypted", _encrypted),
        _run(TRAINING),
        LabStep("Nimtable: moderation.training_data (read with PyIceberg)", "schema and rows", _training_rows),
        _folders("moderation.training_data"),
        LabStep(_VERIFY.text, "table, schema, row count, sample rows; exit 0 in < 10 s", _verify, typed=(_VERIFY,)),
    )


STAGE = Stage(
    "5",
    "5 Lakehouse",
    steps(LabStep(_PAST.short, "600 images of a past week, their events published", _past, typed=(_PAST,))),
)
