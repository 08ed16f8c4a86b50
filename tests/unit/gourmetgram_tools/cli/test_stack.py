"""The commands of the local stack, without starting anything."""

import io
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gourmetgram_tools.local.airflow import AIRFLOW
from gourmetgram_tools.local.blueprint import SERVERS
from gourmetgram_tools.local.jupyter import JUPYTER, token
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.services import SERVICES
from gourmetgram_tools.local.stack import Stack
from tests.support.command import Run

# Runs the command: exit code, output, errors.


def test_without_arguments_it_lists_its_subcommands(run: Run) -> None:
    _code, output, _errors = run()
    assert all(f" {name} " in output for name in ("up", "down", "status", "logs", "links", "kill", "env"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stack", "nope", "status"], "There is no stack 'nope'"),
        (["kill", "redis"], "The stack 'default' is not up: run `gourmetgram up` first."),
        (["kill", "nothing"], "The stack has no 'nothing'"),
        (["start", "redis"], "The stack 'default' is not up: run `gourmetgram up` first."),
        (["env", "nothing"], "There is no service 'nothing'"),
        (["up", "--port", "redis=x"], "--port wants NAME=NUMBER"),
        (["up", "--with", "spark"], "--with takes airflow or jupyter or mlflow, not 'spark'."),
        (["logs", "nothing"], "The stack has no 'nothing'"),
    ],
)
def test_a_mistake_gives_one_sentence_and_exit_code_1(run: Run, arguments: list[str], sentence: str) -> None:
    code, output, errors = run(*arguments)
    assert code == 1
    assert errors.startswith(f"Error: {sentence}")
    assert errors.count("\n") == 1
    assert "Traceback" not in output + errors


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("192.0.2.7", True), ("127.0.0.1", False)])
def test_up_warns_when_other_machines_reach_the_pages(
    run: Run, monkeypatch: pytest.MonkeyPatch, host: str, warned: bool
) -> None:
    monkeypatch.setattr(Stack, "up", lambda *_: None)
    monkeypatch.setattr("gourmetgram_tools.cli.stack.machine_addresses", lambda: ["192.0.2.7"])
    _code, _output, errors = run("up", "--host", host)
    assert ("published passwords) at 192.0.2.7." in errors) == warned


def test_the_variables_can_be_evaluated_by_a_shell(run: Run, tmp_path: Path) -> None:
    _code, output, _errors = run("env")
    assignments = [shlex.split(line) for line in output.splitlines()]
    assert all(words[0] == "export" and len(words) == 2 for words in assignments)
    assert dict(words[1].split("=", 1) for words in assignments) == Stack("default", tmp_path).environment()


def test_every_page_is_listed_in_one_piece_with_its_login(run: Run) -> None:
    _code, output, _errors = run("links", "--host", "a-host-with-a-rather-long-name.example.org")
    assert "http://a-host-with-a-rather-long-name.example.org:8000/docs" in output
    assert "http://a-host-with-a-rather-long-name.example.org:9001   login: admin / gourmetgram_minio" in output


def test_jupyter_is_listed_under_the_loopback_address_with_its_token(run: Run, tmp_path: Path) -> None:
    title = "Jupyter (after `up --with jupyter`)"
    _code, output, _errors = run("links", "--host", "example.org", "--target", "local")
    assert re.search(rf"^{re.escape(title)} +http://localhost:8888/tree$", output, re.MULTILINE)
    made = token(tmp_path / "default" / JUPYTER)
    _code, output, _errors = run("links", "--host", "example.org", "--target", "local")
    assert re.search(rf"^{re.escape(title)} +http://localhost:8888/tree\?token={made}$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("containers", "is_the_lab"),
    [("gone\t", False), ("adminer\t0.0.0.0:5050->8080/tcp", True), ("other\t0.0.0.0:5050->8080/tcp", False)],
)
def test_without_a_target_the_pages_are_those_of_what_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, containers: str, is_the_lab: bool
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n[ $1 = ps ] && printf '{containers}\\n'\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, output, _errors = run("links")
    assert code == 0
    assert ("Adminer" in output) is is_the_lab


def test_the_details_of_nimtable_are_its_form_with_the_passwords_of_the_lab(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIMTABLE_S3_PASSWORD", "own_minio")
    monkeypatch.setenv("POSTGRES_PASSWORD", "own_postgres")
    code, output, _errors = run("links", "--details", "nimtable", "--target", "compose")
    assert code == 0
    assert re.search(r"^Connection method +JDBC \+ S3$", output, re.MULTILINE)
    assert re.search(r"^Catalog name +gourmetgram$", output, re.MULTILINE)
    assert output.count("own_minio") == output.count("own_postgres") == 1


def test_nimtable_has_no_details_on_the_local_stack(run: Run) -> None:
    code, output, errors = run("links", "--details", "nimtable", "--target", "local")
    assert (code, output) == (1, "")
    assert errors.startswith("Error: Nimtable does not run on the local stack")
    assert "--target compose" in errors


def test_a_stopped_stack_has_a_status(run: Run) -> None:
    code, output, _errors = run("status")
    assert code == 0
    assert output.count("STOPPED") == len(SERVERS) + len(SERVICES) + len(AIRFLOW) + len([JUPYTER, MLFLOW])


def test_down_of_a_stack_that_is_not_up_is_no_error(run: Run) -> None:
    assert run("down")[0] == 0


class Terminal(io.StringIO):
    """Standard input of a person."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "typed", "is_asked", "is_deleted"),
    [
        (["down", "--wipe"], Terminal("y\n"), True, True),
        (["down", "--wipe"], Terminal("n\n"), True, False),
        (["down", "--wipe"], Terminal("\n"), True, False),
        (["down", "--wipe"], io.StringIO(), False, True),
        (["down", "--wipe", "--yes"], Terminal(), False, True),
        (["down"], Terminal(), False, False),
    ],
    ids=["yes", "no", "default", "script", "--yes", "no wipe"],
)
def test_a_person_is_asked_before_data_is_deleted(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    typed: io.StringIO,
    is_asked: bool,
    is_deleted: bool,
) -> None:
    kept = tmp_path / "default" / "kept"
    kept.parent.mkdir()
    kept.write_text("x")
    monkeypatch.setattr(sys, "stdin", typed)
    code, output, _errors = run(*words)
    assert code == (1 if is_asked and not is_deleted else 0)
    assert (f"Delete all data of the stack 'default' in {kept.parent}?" in output) is is_asked
    assert kept.exists() is not is_deleted


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"gourmetgram {version('gourmetgram')}\n", "")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("gourmetgram au", ["audit"]),
        ("gourmetgram models a", ["activate"]),
        ("gourmetgram --vers", ["--version"]),
    ],
)
def test_bash_completes_commands_and_options(
    run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, expected: list[str]
) -> None:
    monkeypatch.setenv("_GOURMETGRAM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    code, output, _errors = run()
    assert (code, output.split()) == (0, expected)


def test_the_script_for_completion_can_be_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, output, _errors = run("--show-completion", "bash")
    assert (code, "_GOURMETGRAM_COMPLETE=complete_bash" in output) == (0, True)
