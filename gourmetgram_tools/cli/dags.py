"""`gourmetgram dags`: list Airflow's DAGs, start a run, and follow it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from gourmetgram.errors import PermanentError, PlatformError, TransientError
from gourmetgram_tools.cli.console import console, errors, selected_stack
from gourmetgram_tools.local.airflow import ADMIN_PASSWORD, ADMIN_USER
from gourmetgram_tools.local.ports import listens
from gourmetgram_tools.local.stack import Stack
from gourmetgram_tools.orchestration import AirflowClient, RunState

app = typer.Typer(help="Airflow's DAGs: list them, start a run, follow it.", no_args_is_help=True)

_STYLES = {"success": "green", "failed": "red", "running": "yellow"}


@contextmanager
def airflow_of(stack: Stack) -> Iterator[AirflowClient]:
    """Open a session with a stack's Airflow, with the lab's login.

    Raises:
        StackError: the stack is not up.
        TransientError: Airflow does not run in it.
    """
    stack.require_up()
    if not listens("127.0.0.1", stack.ports.airflow):
        start = stack.command("up --with airflow")
        raise TransientError(f"The stack '{stack.name}' runs without Airflow: run {start} first.")
    with AirflowClient.connect(f"http://127.0.0.1:{stack.ports.airflow}", ADMIN_USER, ADMIN_PASSWORD) as client:
        yield client


@app.command("list")
def list_dags(context: typer.Context) -> None:
    """List the DAGs."""
    table = Table()
    for heading in ("dag", "paused", "description"):
        table.add_column(heading)
    with airflow_of(selected_stack(context)) as airflow:
        for dag in airflow.dags():
            table.add_row(dag["dag_id"], "yes" if dag["is_paused"] else "no", dag["description"] or "")
    console.print(table)


@app.command()
def trigger(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The DAG, as `dags list` shows it.", show_default=False)],
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 1 when it fails.")] = False,
    deadline: Annotated[float, typer.Option(help="Seconds to follow it.")] = 900.0,
    conf: Annotated[str, typer.Option(help='Parameters of the run as JSON, for example {"force": true}.')] = "{}",
) -> None:
    """Unpause a DAG and start a run of it."""
    parameters = _parameters(conf)
    with airflow_of(selected_stack(context)) as airflow:
        run_id = airflow.trigger(name, parameters)
        console.print(f"Started {name}: {run_id}", highlight=False)
        if wait:
            follow(airflow, name, run_id, deadline)


def _parameters(text: str) -> dict[str, Any]:
    """Parameters of a run.

    Raises:
        PermanentError: the text is no JSON object.
    """
    try:
        parameters = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"--conf is no JSON ({error}): write it like '{{\"force\": true}}'.") from error
    if not isinstance(parameters, dict):
        raise PermanentError("--conf is no JSON object: write it like '{\"force\": true}'.")
    return parameters


def follow(airflow: AirflowClient, name: str, run_id: str, deadline_s: float) -> RunState:
    """Print each task as it changes, until the run ends.

    Raises:
        PlatformError: the run failed or did not end in time.
    """
    shown: dict[str, str | None] = {}

    def show(state: RunState) -> None:
        if state.state == "queued" and name not in shown:
            shown[name] = state.state
            errors.print(f"  {name}: queued, until the earlier runs of the DAG have ended", style="dim")
        for task in state.tasks:
            if task.state != shown.get(task.task_id):
                shown[task.task_id] = task.state
                seconds = "" if task.seconds is None or task.state == "running" else f" ({task.seconds:.1f} s)"
                errors.print(f"  {task.task_id}: {task.state}{seconds}", style=_STYLES.get(task.state or "", "dim"))

    state = airflow.wait(name, run_id, deadline_s, show)
    if state.state != "success":
        failed = ", ".join(task.task_id for task in state.tasks if task.state == "failed")
        raise PlatformError(f"Run {run_id} of {name} failed in {failed}: its log is on Airflow's page of the run.")
    console.print(f"{name} succeeded.", style="green", highlight=False)
    return state
