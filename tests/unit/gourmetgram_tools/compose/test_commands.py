"""`docker compose` as the demonstration uses it, with a program of the same name that writes down what it is told."""

import stat
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram_tools.compose import commands
from gourmetgram_tools.compose.commands import COMPOSE_FILE, compose, health_of, is_running, wait_healthy

DOCKER = """#!/bin/sh
echo "$@ mode=$INFERENCE_MODE" >> "{said}"
case "$*" in
    *"ps --quiet gone"*) ;;
    *"ps --quiet"*) echo container-of-it ;;
    *inspect*) echo "$STATE" ;;
    *exec*) echo '{{"status": "healthy"}}' ;;
    *fail*) echo "no such service: fail" >&2; exit 14 ;;
esac
"""


@pytest.fixture(name="said")
def said_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the program was told, a line a call."""
    said = tmp_path / "said.txt"
    program = tmp_path / "docker"
    program.write_text(DOCKER.format(said=said))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    monkeypatch.delenv("INFERENCE_MODE", raising=False)
    monkeypatch.setattr(commands, "_POLL_S", 0.01)
    return said


def test_it_acts_on_the_labs_file_with_the_given_variables(said: Path) -> None:
    compose("up", "-d", "redis", variables={"INFERENCE_MODE": "shadow"})
    assert said.read_text() == f"compose -f {COMPOSE_FILE} up -d redis mode=shadow\n"
    assert COMPOSE_FILE.is_file()


def test_files_that_the_caller_names_win(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "other.yaml")
    compose("up", "-d", quiet=True)
    assert said.read_text() == "compose up -d mode=\n"


def test_a_failure_names_the_command_and_the_reason(said: Path) -> None:
    with pytest.raises(TransientError, match="`docker compose up fail` ended with code 14: no such service: fail"):
        compose("up", "fail", quiet=True)


def test_without_docker_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PermanentError, match="gourmetgram doctor"):
        compose("ps")


def test_the_answer_of_health_is_read_inside_the_container(said: Path) -> None:
    assert health_of("risk_scoring_service", 9102) == {"status": "healthy"}
    assert "exec -T risk_scoring_service python -c" in said.read_text()
    assert "http://localhost:9102/health" in said.read_text()


def test_a_service_runs_when_it_has_a_container(said: Path) -> None:
    assert is_running("redis")
    assert not is_running("gone")


@pytest.mark.parametrize("state", ["running healthy", "running"])
def test_healthy_is_healthy_or_running_without_a_check(said: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setenv("STATE", state)
    wait_healthy(["redis", "postgres"], 5.0)


@pytest.mark.parametrize(("state", "service"), [("running starting", "redis"), ("exited", "redis"), ("", "gone")])
def test_what_is_not_healthy_in_time_is_named(
    said: Path, monkeypatch: pytest.MonkeyPatch, state: str, service: str
) -> None:
    monkeypatch.setenv("STATE", state)
    with pytest.raises(TransientError, match=f"Not healthy within 0 s: {service}. `docker compose logs {service}`"):
        wait_healthy([service], 0.0)
