"""Jupyter as a part of a stack, without starting it."""

import os
from pathlib import Path

import pytest

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram.training.settings import TrainingSettings
from gourmetgram_tools.local import jupyter
from gourmetgram_tools.local.component import Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.jupyter import JUPYTER, Jupyter
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.services import is_switch
from gourmetgram_tools.local.stack import Stack


def quiet(_text: str) -> None:
    """Drop a step's text."""


def program_of(home: Path) -> Program:
    return Jupyter(Layout("mine", home), 8888, Stack("mine", home).environment(JUPYTER)).program()


def test_the_token_is_made_once_and_is_its_owners_secret(tmp_path: Path) -> None:
    made = jupyter.token(tmp_path)
    assert len(made) == 48
    assert jupyter.token(tmp_path) == made
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert jupyter.token(tmp_path / "another") != made


def test_it_listens_on_the_loopback_address_on_its_port_only(tmp_path: Path) -> None:
    program = program_of(tmp_path)
    assert {"--ip=127.0.0.1", "--port=8888", "--port-retries=0"} <= set(program.command)
    assert ("--allow-root" in program.command) is (os.geteuid() == 0)
    assert program.directory == PROJECT_ROOT / "model_training" / "workspace"
    assert program.environment["JUPYTER_TOKEN"] not in " ".join(program.command)


def test_its_variables_are_those_of_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_HORIZON_MINUTES", "60")
    monkeypatch.setenv("PYICEBERG_CATALOG__GOURMETGRAM__URI", "postgresql+psycopg2://elsewhere/x")
    stack, variables = Stack("mine", tmp_path), program_of(tmp_path).environment
    different = {name for name, value in stack.environment().items() if variables[name] != value}
    catalog = "PYICEBERG_CATALOG__GOURMETGRAM__"
    logins = {f"{catalog}URI", f"{catalog}S3__ACCESS_KEY_ID", f"{catalog}S3__SECRET_ACCESS_KEY"}
    assert different == {"DATABASE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", *logins}
    assert (variables["MODEL_BUCKET"], variables["MODEL_PREFIX"]) == ("gourmetgram-datalake", "models/moderation/")
    assert variables["LABEL_HORIZON_MINUTES"] == "60"
    assert "elsewhere" not in str(variables)


def test_settings_of_training_are_switches() -> None:
    assert [name for name in TrainingSettings.model_fields if not is_switch(name.upper())] == []


def test_without_its_packages_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(StackError, match="run `make setup`"):
        Jupyter(Layout("mine", tmp_path), 8888, {}).obtain(quiet)
