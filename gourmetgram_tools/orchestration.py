"""Client of Airflow's REST API: unpause a DAG, start a run of it, and follow the run to its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Self

import httpx

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.waiting import wait_for

# Seconds between two polls; each costs two requests beside those of the tasks.
_POLL_S: Final = 1.0
_RUN_ENDED: Final = frozenset({"success", "failed"})


class TaskState(NamedTuple):
    """State of one task of a run; `state` is None before it is scheduled. Times are ISO-8601 or None."""

    task_id: str
    state: str | None
    seconds: float | None


class RunState(NamedTuple):
    """State of a run and its tasks, in the order in which they started."""

    dag_id: str
    run_id: str
    state: str
    tasks: list[TaskState]


class AirflowClient:
    """Session with Airflow's API.

    Args:
        client: HTTP client with the address of the api-server and the session's token; see `connect`.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @classmethod
    @contextmanager
    def connect(cls, url: str, user: str, password: str) -> Iterator[Self]:
        """Log in, and log out at the end of the block.

        Args:
            url: address of the api-server, without a path.
            user: login name.
            password: its password.

        Raises:
            TransientError: Airflow does not answer.
            PermanentError: it refuses the login.
        """
        with httpx.Client(base_url=url, timeout=30) as client:
            token = _call(client, "POST", "/auth/token", {"username": user, "password": password})["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield cls(client)

    def dags(self) -> list[dict[str, Any]]:
        """List every DAG as the API describes it (`dag_id`, `is_paused`, `description` …)."""
        found: list[dict[str, Any]] = _call(self._client, "GET", "/api/v2/dags")["dags"]
        return found

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause a DAG and start a run; return the run's id.

        Args:
            dag_id: the DAG.
            conf: values of its parameters; the others keep their defaults.

        Raises:
            PermanentError: there is no such DAG, or it refuses a value.
            TransientError: Airflow does not answer.
        """
        _call(self._client, "PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
        body = {"logical_date": None, "conf": dict(conf or {})}
        run = _call(self._client, "POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        return str(run["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> RunState:
        """Get the state of a run and of its tasks."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        run = _call(self._client, "GET", path)
        instances = _call(self._client, "GET", f"{path}/taskInstances")["task_instances"]
        tasks = [TaskState(item["task_id"], item["state"], item["duration"]) for item in sorted(instances, key=_start)]
        return RunState(dag_id, run_id, run["state"], tasks)

    def wait(
        self, dag_id: str, run_id: str, deadline_s: float, progress: Callable[[RunState], None] | None = None
    ) -> RunState:
        """Follow a run to its end.

        Args:
            dag_id: the DAG.
            run_id: the run.
            deadline_s: longest wait, in seconds.
            progress: receives the state of each poll.

        Raises:
            TransientError: the run did not end in time, or Airflow went away.
        """

        def poll() -> RunState:
            state = self.state(dag_id, run_id)
            if progress:
                progress(state)
            return state

        def late(run: RunState) -> TransientError:
            return TransientError(f"Run {run_id} of {dag_id} is still {run.state} after {deadline_s:g} s")

        return wait_for(
            poll, deadline_s=deadline_s, every_s=_POLL_S, late=late, done=lambda run: run.state in _RUN_ENDED
        )


def _start(item: dict[str, Any]) -> str:
    """Sort key of tasks that have not started yet: at the end."""
    return item["start_date"] or "~"


def _call(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        response = client.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise TransientError(f"Airflow does not answer at {client.base_url}: {error}") from error
    if response.is_server_error:
        raise TransientError(f"Airflow answered {response.status_code} to {method} {path}")
    if response.is_client_error:
        raise PermanentError(f"Airflow refused {method} {path}: {response.status_code} {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer
