"""What each command says when the platform that it needs is not up."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from gourmetgram.models.artifacts import ARTIFACT_NAMES
from gourmetgram.models.package import ModelPackage, write_package
from gourmetgram_tools.cli import running
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.cli.target import Target, compose_settings
from gourmetgram_tools.compose.commands import COMPOSE_FILE
from gourmetgram_tools.local import ports
from gourmetgram_tools.local.stack import Stack
from tests.support.command import Run

IMAGE = "00000000-0000-4000-8000-000000000000"
NOT_UP = "The stack 'default' is not up"


NEED_THE_STACK = [
    ("start", "redis"),
    ("stop", "redis"),
    ("restart", "redis"),
    ("kill", "redis"),
    ("logs", "--follow"),
    ("dags", "list"),
    ("dags", "trigger", "moderation_training"),
]
NEED_A_PLATFORM = [
    ("trace", IMAGE),
    ("trace", "--event", IMAGE),
    ("burst",),
    ("audit",),
    ("train",),
    ("models", "publish", "--folder", "model"),
    ("models", "publish", "--from", "models:/name@latest-model"),
    ("train", "--register"),
    ("models", "list"),
    ("models", "activate", "1"),
    ("models", "rollback"),
    ("models", "sign", "1"),
    ("compare",),
    ("skew",),
    ("drift",),
    ("migrate",),
    ("backup", "folder"),
    ("restore", "folder"),
    ("lake", "accept-gap", "gourmetgram.views", "0"),
    ("outbox", "replay", "--since", "10m"),
    ("adopt", "pictures"),
    ("adopt", "tables"),
    ("erase", "user", IMAGE),
    ("erase", "image", IMAGE),
    ("erase", "ineligible"),
    ("erase", "resume"),
]
SHOW_SOMETHING = [("status",), ("logs",), ("logs", "redis"), ("links",), ("env",), ("down",)]
NOT_RUN_HERE = [("up",), ("demo",), ("doctor",), ("generate-passwords",), ("kubernetes", "manifests")]
"""Commands that bring a platform up, or need none."""


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder holds a model, which `models publish` reads before it asks for a platform."""
    write_package(ModelPackage(dict.fromkeys(ARTIFACT_NAMES, b""), {}), tmp_path / "model")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="run")
def run_without_docker(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command on stacks in an empty folder, without Docker."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return run


def commands(group: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name)


def test_no_command_is_forgotten_here() -> None:
    known = {*NEED_THE_STACK, *NEED_A_PLATFORM, *SHOW_SOMETHING, *NOT_RUN_HERE}
    everything = set(commands(typer.main.get_command(app)))
    assert len(everything) > 20
    assert {name for name in everything if not any(line[: len(name)] == name for line in known)} == set()


@pytest.mark.parametrize("words", [*NEED_THE_STACK, *NEED_A_PLATFORM], ids=" ".join)
def test_on_a_stack_that_is_down_a_command_says_so_and_what_to_run(run: Run, words: tuple[str, ...]) -> None:
    code, output, errors = run(*words)
    assert (code, output) == (1, "")
    assert errors == f"Error: {NOT_UP}: run `gourmetgram up` first.\n"


@pytest.mark.parametrize("words", SHOW_SOMETHING, ids=" ".join)
def test_what_can_be_shown_is_shown_with_a_note(run: Run, words: tuple[str, ...]) -> None:
    code, _output, errors = run(*words)
    assert code == 0
    assert errors.startswith(NOT_UP)
    assert errors.count("\n") == 1


@pytest.fixture(name="lab_is_down")
def lab_is_down_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else may have the lab's ports on this machine."""
    monkeypatch.setattr(running, "listens", lambda _host, _port: False)


@pytest.mark.usefixtures("lab_is_down")
@pytest.mark.parametrize("words", NEED_A_PLATFORM, ids=" ".join)
def test_without_the_compose_lab_a_command_says_so_and_what_to_run(run: Run, words: tuple[str, ...]) -> None:
    code, output, errors = run(*words, "--target", "compose")
    assert (code, output) == (1, "")
    assert errors.startswith("Error: The Compose lab is not up, or without ")
    assert f"run `docker compose -f {COMPOSE_FILE} up -d " in errors
    assert errors.count("\n") == 1
    assert "kafka" not in errors  # there its name is redpanda


def test_the_pages_of_a_lab_that_is_down_come_with_a_note(run: Run) -> None:
    code, output, errors = run("links", "--target", "compose", "--host", compose_settings().ui_bind)
    assert (code, "Adminer" in output) == (0, True)
    assert f"The Compose lab is not up: run `docker compose -f {COMPOSE_FILE} up -d` first.\n" in errors


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("trace", "abc"), "'abc' is no image id"),
        (("trace", "--event", "abc"), "'abc' is no event id"),
        (("trace",), "Give the id of an image"),
        (("burst", "--image", "abc"), "'abc' is no image id"),
        (("burst", "--views", "1", "--comments", "1", "--flags", "1"), "This burst is below every threshold"),
        (("models", "publish", "--folder", "nowhere"), "nowhere has no "),
        (("models", "publish", "--folder", "model", "--from", "models:/a/1"), "Give --folder or --from, not both."),
        (("models", "publish", "--force", "because"), "--force belongs to --from"),
        (("models", "publish", "--from", "runs:/1/model"), "'runs:/1/model' is no address of a registered model"),
        (("models", "publish", "--from", "models:/name"), "'models:/name' is no address of a registered model"),
        (("train", "--register", "--env", "test"), "The environment 'test' is unknown: give one of prd, acc, dev."),
    ],
)
def test_a_wrong_argument_is_named_first(run: Run, words: tuple[str, ...], sentence: str, target: Target) -> None:
    code, _output, errors = run(*words, "--target", target)
    assert (code, errors.startswith(f"Error: {sentence}")) == (1, True)


def test_a_part_that_does_not_listen_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "is_up", lambda _self: True)
    stack = Stack("other", tmp_path)
    assert stack.ports  # a plan of ports that are free
    monkeypatch.setattr(running, "listens", lambda _host, port: port not in (stack.ports.redis, stack.ports.kafka))
    code, _output, errors = run("--stack", "other", "audit")
    assert (code, errors) == (
        1, "Error: The stack 'other' runs without redis and kafka: run `gourmetgram --stack other up` first.\n",
    )  # fmt: skip


def test_a_stack_without_airflow_says_how_to_start_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stack, "is_up", lambda _self: True)
    assert not ports.listens("127.0.0.1", Stack("other", tmp_path).ports.airflow)
    code, _output, errors = run("--stack", "other", "dags", "list")
    assert (code, errors) == (
        1, "Error: The stack 'other' runs without Airflow: run `gourmetgram --stack other up --with airflow` first.\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [("{force: true}", "--conf is no JSON ("), ("[1]", "--conf is no JSON object: ")],
)
def test_parameters_of_a_run_that_are_no_json_object_are_named_first(run: Run, conf: str, sentence: str) -> None:
    code, _output, errors = run("dags", "trigger", "model_retraining", "--conf", conf)
    assert (code, errors.startswith(f"Error: {sentence}")) == (1, True)
    assert errors.count("\n") == 1
