"""What Airflow's one-shot set-up runs, and in which order; tests/integration/airflow/test_dags.py runs it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from gourmetgram.settings import PROJECT_ROOT

VARIABLES = {
    "AIRFLOW_ADMIN_PASSWORD": "another",
    "DATABASE_URL": "postgresql://user:secret@postgres:5432/gourmetgram",
    "PYICEBERG_CATALOG__GOURMETGRAM__S3__ENDPOINT": "http://minio:9000",
    "PYICEBERG_CATALOG__GOURMETGRAM__S3__ACCESS_KEY_ID": "admin",
    "PYICEBERG_CATALOG__GOURMETGRAM__S3__SECRET_ACCESS_KEY": "secret",
}


class Recorder:
    """Takes the place of Airflow's command line."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.commands: list[str] = []
        self.passwords: list[str] = []
        self.imported: dict[str, object] = {}
        self.file: Path | None = None
        self._fails_at = fails_at

    def __call__(self, *words: str) -> None:
        if len(self.commands) == self._fails_at:
            raise SystemExit(1)
        self.commands.append(" ".join(words[:2]))
        if "--password" in words:
            self.passwords.append(words[words.index("--password") + 1])
        if words[0] == "connections":
            self.file = Path(words[-1])
            self.imported = json.loads(self.file.read_text())


@pytest.fixture(name="init")
def init_fixture(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "airflow")
    return importlib.import_module("init")


def test_tables_then_the_login_then_the_connections(init: ModuleType) -> None:
    airflow = Recorder()
    init.set_up(airflow, VARIABLES)
    assert airflow.commands == ["db migrate", "users create", "users reset-password", "connections import"]
    # An account of an earlier start gets the password of today, too.
    assert airflow.passwords == ["another", "another"]
    assert airflow.imported == {
        "gourmetgram_postgres": "postgresql://user:secret@postgres:5432/gourmetgram",
        "gourmetgram_minio": {
            "conn_type": "aws",
            "login": "admin",
            "password": "secret",
            "extra": {"endpoint_url": "http://minio:9000"},
        },
    }
    # It holds a password.
    assert airflow.file is not None
    assert not airflow.file.exists()


@pytest.mark.parametrize("step", range(4))
def test_the_first_failure_ends_it(init: ModuleType, step: int) -> None:
    airflow = Recorder(fails_at=step)
    with pytest.raises(SystemExit):
        init.set_up(airflow, VARIABLES)
    assert len(airflow.commands) == step


def test_a_missing_variable_is_found_before_anything_is_done(init: ModuleType) -> None:
    airflow = Recorder()
    variables = {name: value for name, value in VARIABLES.items() if not name.endswith("ENDPOINT")}
    with pytest.raises(KeyError, match="S3__ENDPOINT"):
        init.set_up(airflow, variables)
    assert airflow.commands == []


@pytest.mark.parametrize(("found", "code", "runs"), [(0, 0, False), (1, 0, True), (2, 2, False)])
def test_nothing_is_done_twice_or_without_a_database(
    init: ModuleType, monkeypatch: pytest.MonkeyPatch, found: int, code: int, runs: bool
) -> None:
    asked: list[str] = []
    done: list[bool] = []

    def answer(command: str) -> int:
        asked.append(command)
        return 0 if done else found

    monkeypatch.setattr(init.setup_note, "main", answer)
    monkeypatch.setattr(init, "set_up", lambda _run, _variables: done.append(True))
    assert init.main() == code
    assert asked == (["check", "write"] if runs else ["check"])
    assert bool(done) is runs
