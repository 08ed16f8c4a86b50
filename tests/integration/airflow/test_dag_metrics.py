"""The metrics page of the DAGs, in Airflow's own environment on a database of its own."""

import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.local.airflow import ENVIRONMENT

pytestmark = pytest.mark.timeout(300)

PLUGINS = PROJECT_ROOT / "airflow" / "plugins"
# Rows as the scheduler leaves them, reduced to the columns that the page reads.
PROGRAM = """
import datetime, sys
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.plugins_manager import get_fastapi_plugins
from airflow.utils.session import create_session
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

(plugin,) = [found for found in get_fastapi_plugins()[0] if found["url_prefix"] == "/gourmetgram"]
with create_session() as session:
    for dag_id, paused in (("hourly", False), ("daily", True)):
        session.add(DagModel(dag_id=dag_id, bundle_name="dags", is_paused=paused))
    session.execute(text("PRAGMA foreign_keys = OFF"))
    good, bad = "success", "failed"
    ends = [("hourly", good, 1000), ("hourly", good, 5000), ("hourly", bad, 9000), ("daily", bad, 7000)]
    for number, (dag_id, state, end) in enumerate(ends):
        moment = datetime.datetime.fromtimestamp(end, datetime.UTC)
        run = DagRun(dag_id=dag_id, run_id=f"run-{number}", run_type="manual", state=state, run_after=moment)
        run.end_date = moment
        session.add(run)
server = FastAPI()
server.mount(plugin["url_prefix"], plugin["app"])
sys.stdout.write(TestClient(server).get("/gourmetgram/metrics").text)
"""


def test_the_page_shows_the_last_success_and_the_pause_of_each_dag(tmp_path: Path) -> None:
    variables = {
        **process_environment(),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in (["airflow", "db", "migrate"], ["python", "-c", PROGRAM]):
        done = subprocess.run(
            [str(ENVIRONMENT / "bin" / command[0]), *command[1:]],
            env=variables,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    page = done.stdout[done.stdout.index("# HELP gourmetgram") :]
    found = {
        (sample.name, sample.labels["dag_id"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert found == {
        ("gourmetgram_dag_last_success_timestamp_seconds", "hourly"): 5000,
        ("gourmetgram_dag_paused", "hourly"): 0,
        ("gourmetgram_dag_paused", "daily"): 1,
    }
