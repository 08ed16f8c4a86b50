"""Every task of every DAG ends after a while, whatever its servers do."""

import ast
from pathlib import Path

import pytest

from gourmetgram.settings import PROJECT_ROOT, DagSettings

DAGS = sorted(
    path for path in (PROJECT_ROOT / "airflow" / "dags").glob("*.py") if "@dag(" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_the_tasks_of_a_dag_have_a_timeout(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    (dag,) = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "dag"]
    (arguments,) = [keyword.value for keyword in dag.keywords if keyword.arg == "default_args"]
    assert isinstance(arguments, ast.Dict)
    keys = [key.value for key in arguments.keys if isinstance(key, ast.Constant)]
    assert "execution_timeout" in keys


def test_the_timeout_is_a_setting() -> None:
    assert DagSettings.load({}).dag_task_timeout_minutes == 60
    assert DagSettings.load({"DAG_TASK_TIMEOUT_MINUTES": "240"}).dag_task_timeout_minutes == 240
