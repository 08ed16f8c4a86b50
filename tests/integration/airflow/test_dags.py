"""The demonstration, as `make demo` runs it on an empty stack; then both DAGs in the Airflow that it leaves running.

The demonstration takes minutes and Airflow half a minute to start: everything that needs them is in this module.
"""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.lakehouse.audit import event_counts, window_sums
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.checkpoint import VARIABLE
from gourmetgram.lakehouse.progress import events_progress
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram_tools.inspection.audit import load_stores
from gourmetgram_tools.inspection.checks import run_checks
from gourmetgram_tools.inspection.quiescence import look
from gourmetgram_tools.inspection.tables import open_tables
from gourmetgram_tools.local.airflow import ADMIN_PASSWORD, ADMIN_USER, AIRFLOW
from gourmetgram_tools.local.blueprint import DEFAULT_SERVICES
from gourmetgram_tools.local.services import inherited_environment
from gourmetgram_tools.local.stack import Stack
from gourmetgram_tools.orchestration import AirflowClient, RunState
from tests.support.airflow_platform import DAGS, AirflowPlatform
from tests.support.own_stack import own_stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

AGGREGATION, TRAINING = "redpanda_event_aggregation", "moderation_training"
TASKS = {
    AGGREGATION: [
        "consume_and_aggregate_events",
        "write_view_windows",
        "write_comment_windows",
        "write_flag_windows",
        "commit_checkpoint",
    ],
    TRAINING: ["extract_data", "transform_features", "load_iceberg"],
}
PAST = {
    "GENERATOR_BACKFILL_DAYS": "7",
    "GENERATOR_BACKFILL_IMAGES": "400",
    "GENERATOR_BACKFILL_EVENTS": "15000",
}


class Demonstration(NamedTuple):
    """What the command did.

    Attributes:
        output: what it printed.
        report: the comparison that it wrote.
        running: servers and services that ran afterwards.
    """

    stack: Stack
    output: str
    report: Path
    running: set[str]


@pytest.fixture(scope="module", name="demo")
def demo_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    report = tmp_path_factory.mktemp("demo") / "comparison.html"
    with own_stack("demo-test") as stack:
        command = [sys.executable, "-m", "gourmetgram_tools.cli.main", "--stack", stack.name, "demo", "--seconds", "2"]
        done = subprocess.run(
            [*command, "--html", str(report)],
            env={**inherited_environment(), **PAST, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        running = {part.name for part in stack.status() if part.pid is not None}
        # Nothing happens from here on but what the tests do.
        stack.stop("data_generator")
        yield Demonstration(stack, done.stdout, report, running)


@pytest.fixture(scope="module", name="airflow")
def airflow_fixture(demo: Demonstration) -> Iterator[AirflowPlatform]:
    with AirflowPlatform.connect(demo.stack) as platform:
        yield platform


@pytest.fixture(scope="module", name="runs")
def runs_fixture(airflow: AirflowPlatform) -> dict[str, str]:
    """The id of the newest run of each DAG; nothing is under way any more."""
    airflow.wait_idle()
    newest = {"order_by": "-run_after", "limit": 1}
    return {dag_id: airflow.get(f"dags/{dag_id}/dagRuns", **newest)["dag_runs"][0]["dag_run_id"] for dag_id in TASKS}


@pytest.fixture(scope="module", name="ran")
def ran_fixture(airflow: AirflowPlatform, runs: dict[str, str]) -> AirflowPlatform:
    """The platform after `runs`."""
    return airflow


def test_an_image_goes_viral_becomes_training_data_and_a_model_judges_the_next(demo: Demonstration) -> None:
    steps = re.findall(r"^(\d+)\. ", demo.output, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 13)]
    # Once by the rules alone, once by the rules with the model beside them, once by the model.
    assert len(re.findall(r"^  viral: 0\.00 SAFE", demo.output, re.MULTILINE)) >= 2
    assert "(model, model version 1," in demo.output
    for conclusion in ("No differences: the features are equal.", "The stores agree.", "Everything stays up"):
        assert conclusion in demo.output
    assert "<html" in demo.report.read_text()
    assert {*DEFAULT_SERVICES, *AIRFLOW} <= demo.running


def assert_variable_mirrors_the_newest_snapshot(airflow: AirflowPlatform) -> None:
    airflow.wait_idle()
    document = json.loads(airflow.get(f"variables/{VARIABLE}")["value"])
    assert set(document) == {"version", "offsets", "updated_at", "last_run_id", "bootstrap"}
    with open_catalog(airflow.platform.iceberg) as catalog:
        progress = events_progress(catalog.load_table(EVENTS))
    assert progress is not None
    assert {t: {int(p): o for p, o in parts.items()} for t, parts in document["offsets"].items()} == progress.offsets
    assert document["last_run_id"] == progress.run_id
    assert (document["version"], document["bootstrap"]) == (1, "earliest")
    assert document["updated_at"].endswith("Z")


def counted(airflow: AirflowPlatform) -> tuple[Any, Any]:
    with open_catalog(airflow.platform.iceberg) as catalog:
        return event_counts(catalog), window_sums(catalog)


def test_the_folder_has_exactly_the_three_dags_and_all_import(airflow: AirflowPlatform) -> None:
    assert airflow.get("importErrors")["import_errors"] == []
    assert {dag["dag_id"] for dag in airflow.client.dags()} == set(DAGS)


@pytest.mark.parametrize(("dag_id", "schedule", "retries"), [(AGGREGATION, "0 * * * *", 2), (TRAINING, "0 0 * * *", 1)])
def test_a_dag_is_scheduled_as_the_contract_says(
    airflow: AirflowPlatform, dag_id: str, schedule: str, retries: int
) -> None:
    details = airflow.get(f"dags/{dag_id}/details")
    assert details["timetable_summary"] == schedule
    assert details["start_date"].startswith("2023-01-01T00:00:00")
    assert (details["catchup"], details["max_active_runs"]) == (False, 1)
    assert details["is_paused_upon_creation"] is True
    tasks = {task["task_id"]: task for task in airflow.get(f"dags/{dag_id}/tasks")["tasks"]}
    assert set(tasks) == set(TASKS[dag_id])
    for before, after in itertools.pairwise(TASKS[dag_id]):
        assert tasks[before]["downstream_task_ids"] == [after]
    assert tasks[TASKS[dag_id][-1]]["downstream_task_ids"] == []
    for task in tasks.values():
        assert task["retries"] == retries
        assert (task["retry_delay"]["days"], task["retry_delay"]["seconds"]) == (0, 30)
        assert (task["execution_timeout"]["days"], task["execution_timeout"]["seconds"]) == (0, 3_600)


def test_the_connections_are_made_at_the_start(airflow: AirflowPlatform) -> None:
    postgres = airflow.get("connections/gourmetgram_postgres")
    stack = airflow.stack
    found = (postgres["conn_type"], postgres["schema"], postgres["login"])
    assert found == ("postgres", "gourmetgram", "gourmetgram_batch")
    assert postgres["port"] == stack.ports.postgres
    minio = airflow.get("connections/gourmetgram_minio")
    assert minio["conn_type"] == "aws"
    assert json.loads(minio["extra"])["endpoint_url"] == stack.environment()["S3_ENDPOINT_URL"]


def test_both_runs_are_green_and_their_tasks_ran_in_order(ran: AirflowPlatform, runs: dict[str, str]) -> None:
    for dag_id, tasks in TASKS.items():
        state = ran.client.state(dag_id, runs[dag_id])
        assert state.state == "success"
        # In the order in which they started.
        assert [(task.task_id, task.state) for task in state.tasks] == [(task_id, "success") for task_id in tasks]
        assert all(task.seconds is not None and task.seconds > 0 for task in state.tasks)


def test_every_event_of_the_api_is_in_the_tables_once(ran: AirflowPlatform) -> None:
    counts, windows = counted(ran)
    windowed = {kind: count.events for kind, count in counts.items() if kind != "upload"}
    assert sum(count.events for count in counts.values()) >= int(PAST["GENERATOR_BACKFILL_EVENTS"])
    assert {kind: table.events for kind, table in windows.items()} == windowed
    engine = create_worker_engine(ran.platform.postgres, "airflow-test")
    try:
        with open_tables() as tables:
            lake = load_stores(tables, ran.platform, engine, look(ran.platform, engine).ends, strict=True)
            checks = [check for check in run_checks(tables, lake) if check.name.startswith(("iceberg", "training"))]
    finally:
        engine.dispose()
    assert [check for check in checks if not check.ok] == []
    assert [check.name for check in checks][-1] == "training rows"
    assert {check.name: check.actual for check in checks}["training rows"] >= 10


def test_the_variable_mirrors_the_newest_snapshot(ran: AirflowPlatform) -> None:
    assert_variable_mirrors_the_newest_snapshot(ran)


def test_tasks_hand_each_other_only_small_summaries(ran: AirflowPlatform, runs: dict[str, str]) -> None:
    for dag_id, tasks in TASKS.items():
        xcoms = ran.xcoms(dag_id, runs[dag_id])
        assert {name.partition(".")[0] for name in xcoms} == set(tasks)
        assert max(map(len, xcoms.values())) < 5_000
        assert "image_id" not in "".join(xcoms.values())


def test_verify_pipeline_prints_what_there_is_and_ends_with_0(ran: AirflowPlatform) -> None:
    done = ran.verify_pipeline()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Table: moderation.training_data"
    count, sample = (
        next(i for i, line in enumerate(lines) if line.startswith(text)) for text in ("Row count: ", "Sam")
    )
    assert int(lines[count].removeprefix("Row count: ")) >= 10
    assert lines[sample] == "Sample rows:"
    assert [line.partition(":")[0] for line in lines[sample + 6 :]] == [
        "event_aggregations.events",
        "event_aggregations.view_windows_5min",
        "event_aggregations.comment_windows_5min",
        "event_aggregations.flag_windows_5min",
    ]
    assert all(int(line.split()[1]) > 0 for line in lines[sample + 6 :])


def test_a_failed_task_is_shown_as_failed_and_the_next_run_makes_up_for_it(ran: AirflowPlatform) -> None:
    connection = "/api/v2/connections/gourmetgram_postgres"
    before = counted(ran)
    ran.write_events(20)
    # A database without an outbox: trying again cannot help, so the task fails at once.
    wrong = {"connection_id": "gourmetgram_postgres", "conn_type": "postgres", "schema": "iceberg_catalog"}
    ran.rest.patch(connection, params={"update_mask": "schema"}, json=wrong).raise_for_status()
    try:
        failed, done = ran.run(AGGREGATION)
    finally:
        ran.rest.patch(connection, params={"update_mask": "schema"}, json={**wrong, "schema": "gourmetgram"})
    assert done.returncode == 1
    assert "failed in consume_and_aggregate_events" in done.stderr
    state = ran.client.state(AGGREGATION, failed)
    assert state.state == "failed"
    states = {task.task_id: task.state for task in state.tasks}
    assert states == {TASKS[AGGREGATION][0]: "failed", **dict.fromkeys(TASKS[AGGREGATION][1:], "upstream_failed")}
    assert counted(ran) == before

    # All its tasks are cleared and the Variable is gone: what is read follows from the snapshot alone.
    ran.rest.delete(f"/api/v2/variables/{VARIABLE}").raise_for_status()
    clear = {"dry_run": False, "dag_run_id": failed, "only_failed": False, "reset_dag_runs": True}
    ran.rest.post(f"/api/v2/dags/{AGGREGATION}/clearTaskInstances", json=clear).raise_for_status()
    assert ran.client.wait(AGGREGATION, failed, 120).state == "success"
    counts, windows = counted(ran)
    assert sum(count.events for count in counts.values()) >= sum(count.events for count in before[0].values()) + 20
    assert {kind: table.events for kind, table in windows.items()} == {
        kind: count.events for kind, count in counts.items() if kind != "upload"
    }
    assert_variable_mirrors_the_newest_snapshot(ran)


def test_the_command_starts_a_run_and_tells_how_each_task_goes(ran: AirflowPlatform) -> None:
    with ran.triggered(TRAINING) as command:
        assert command.stdout
        run_id = command.stdout.readline().split(": ")[1].strip()
        seen: list[RunState] = []
        # A run that is not waited for long enough is still running.
        with pytest.raises(TransientError, match=rf"Run .* of {TRAINING} is still (queued|running) after 0 s"):
            ran.client.wait(TRAINING, run_id, 0, seen.append)
        assert [state.run_id for state in seen] == [run_id]
        output, tasks = command.communicate(timeout=300)
    assert command.returncode == 0, tasks
    assert f"{TRAINING} succeeded." in output
    for task_id in TASKS[TRAINING]:
        assert f"{task_id}: success" in tasks


def test_what_airflow_does_not_know_is_refused_with_its_answer(airflow: AirflowPlatform) -> None:
    with pytest.raises(PermanentError, match=r"Airflow refused PATCH /api/v2/dags/no_such_dag: 404"):
        airflow.client.trigger("no_such_dag")
    done = airflow.dags("trigger", "no_such_dag")
    assert done.returncode == 1
    assert "404" in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_password_is_refused(airflow: AirflowPlatform) -> None:
    with (
        pytest.raises(PermanentError, match="401"),
        AirflowClient.connect(airflow.url, ADMIN_USER, ADMIN_PASSWORD + "x"),
    ):
        pass


def test_an_airflow_that_does_not_run_is_named(airflow: AirflowPlatform) -> None:
    with (
        pytest.raises(TransientError, match=r"Airflow does not answer at http://127\.0\.0\.1:1"),
        AirflowClient.connect("http://127.0.0.1:1", ADMIN_USER, ADMIN_PASSWORD),
    ):
        pass


def test_the_command_lists_the_dags_with_what_they_do(airflow: AirflowPlatform) -> None:
    done = airflow.dags("list")
    assert done.returncode == 0, done.stderr
    for dag in airflow.client.dags():
        assert dag["dag_id"] in done.stdout and dag["description"] in done.stdout
