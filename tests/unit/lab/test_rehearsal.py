"""The rehearsal's own logic: stand-ins of images, failed and late steps, the report."""

import time
from pathlib import Path

import pytest
import yaml

from gourmetgram.settings import PROJECT_ROOT
from tests.lab import commands
from tests.lab.expectations import NotSeenError, RehearsalError, expect, until
from tests.lab.lab import Lab
from tests.lab.report import Rehearsed, render
from tests.lab.run import OWN_TRAFFIC, STAGES, USUAL
from tests.lab.standins import images
from tests.lab.standins.catalogue import BASE, BY_REPOSITORY, NOT_REHEARSED, repository
from tests.lab.standins.images import LabImage
from tests.lab.steps import LabStep, Result, Stage, walk
from tests.lab.walk import own_traffic, stage2, stage3, stage4, stage5, stage6


def _step(command: str, error: Exception | None = None, needed: bool = False) -> LabStep:
    def see(_lab: Lab) -> str:
        if error:
            raise error
        return "as expected"

    return LabStep(command, "something", see, needed)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres:18.6", "postgres"),
        ("redis", "redis"),
        ("docker.redpanda.com/redpandadata/redpanda:v25.3.7", "docker.redpanda.com/redpandadata/redpanda"),
        ("localhost:5000/library/redis", "localhost:5000/library/redis"),
        ("python:3.11@sha256:0123", "python"),
    ],
)
def test_the_repository_is_the_name_without_tag_and_digest(image: str, name: str) -> None:
    assert repository(image) == name


def test_every_image_of_the_compose_file_has_a_stand_in_or_is_listed_as_not_rehearsed() -> None:
    text = (PROJECT_ROOT / "docker" / "docker-compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    names = [service["image"] for service in services.values() if "build" not in service]
    defaults = [name.replace("${", "").split(":-")[-1].rstrip("}") if name.startswith("${") else name for name in names]
    unknown = [name for name in defaults if repository(name.split("${")[0]) not in {*BY_REPOSITORY, *NOT_REHEARSED}]
    assert unknown == []


def test_every_stand_in_has_a_dockerfile() -> None:
    folder = PROJECT_ROOT / "tests" / "lab" / "standins" / "files"
    assert [
        each.name for each in (BASE, *BY_REPOSITORY.values()) if not (folder / each.name / "Dockerfile").exists()
    ] == []


def test_the_base_images_of_a_dockerfile_are_found_through_its_arguments(tmp_path: Path) -> None:
    lines = (
        "ARG PYTHON=python:3.11",
        "FROM ${PYTHON} AS one",
        "FROM one AS two",
        "FROM --platform=linux/amd64 redis:7",
    )
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    build = {"context": str(tmp_path), "dockerfile": "Dockerfile", "args": {"PYTHON": "python:3.11.10", "OTHER": ""}}
    assert list(images.base_images(build)) == ["python:3.11.10", "redis:7"]


def test_a_failed_look_does_not_end_the_walk() -> None:
    stage = Stage("1", "one", (_step("a", NotSeenError("nothing there")), _step("b")))
    results = walk([stage], Lab(), lambda _result: None)
    assert [(result.passed, result.seen) for result in results] == [(False, "nothing there"), (True, "as expected")]


def test_after_a_needed_step_failed_the_rest_is_named_as_not_tried() -> None:
    stage = Stage("1", "one", (_step("up", NotSeenError("unhealthy"), needed=True), _step("look")))
    results = walk([stage], Lab(), lambda _result: None)
    assert [result.passed for result in results] == [False, None]
    assert "`up` failed" in results[1].seen


def test_an_error_of_a_library_is_a_failed_step_with_its_name() -> None:
    (result,) = walk([Stage("1", "one", (_step("a", KeyError("kafka_enabled")),))], Lab(), lambda _result: None)
    assert (result.passed, result.seen) == (False, "KeyError: 'kafka_enabled'")


def test_the_report_names_commands_sights_and_images_and_does_not_hide_a_failure() -> None:
    stage = Stage("2", "2 Data", (_step("DC up -d postgres"), _step("look", NotSeenError("a|b\nc"))))
    rehearsed = Rehearsed("abc123", "Docker Engine 1", [LabImage("postgres:18", "packages", 249)])
    rehearsed.results = walk([stage], Lab(), lambda _result: None)
    text = render(rehearsed)
    assert "**1 of 2 steps passed**" in text
    assert "| `DC up -d postgres` | something | as expected |" in text
    assert "a\\|b<br>c" in text
    assert "**FAIL**" in text
    assert "| postgres:18 | 249 | packages |" in text
    assert not rehearsed.passed


def test_the_walk_types_the_commands_of_the_lab() -> None:
    commands = [step.command for stage in (stage2, stage3, stage4, stage5, stage6) for step in stage.STAGE.steps]
    assert [command for command in commands if command.startswith("DC up")] == [
        "DC up -d postgres adminer",
        "DC up -d minio minio-init",
        "DC up -d extract-data transform-data",
        "DC up -d api_v1",
        "DC up -d data_generator",
        "DC up -d api_v2 redpanda redpanda-console redis redisinsight stream_consumer risk_scoring_service",
        "DC up -d data_generator",
        "DC up -d airflow-init airflow-webserver airflow-scheduler nimtable nimtable-web",
        "DC up -d --build jupyter",
    ]


def test_the_walk_on_own_traffic_gives_no_past_and_ends_with_a_model() -> None:
    chosen = [stage for stage in STAGES if stage.key in OWN_TRAFFIC]
    assert [stage.key for stage in chosen] == ["config", "2", "3", "4", "5-own", "6-own", "audit"]
    commands = [step.command for stage in chosen for step in stage.steps]
    assert not [command for command in commands if "GENERATOR_MODE=backfill" in command]
    assert [command for command in commands if "ARRIVAL_RATE" in command or command.startswith("trigger")] == [
        "GENERATOR_ARRIVAL_RATE=30000 in docker/.env; DC up -d data_generator",
        "trigger redpanda_event_aggregation",
        "trigger moderation_training",
        "docker/.env without GENERATOR_ARRIVAL_RATE; DC up -d data_generator",
    ]
    assert stage6.NOTEBOOK in commands


def test_a_refusal_of_the_notebook_is_waited_for_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["again in 3 minutes (at 12:03 UTC)", "again now", "the kernel died"]
    done: list[object] = []

    def refuse(_lab: Lab) -> str:
        raise NotSeenError(f"UnusableDataError: Trigger the DAG moderation_training {said.pop(0)}")

    monkeypatch.setattr(stage6, "train", refuse)
    monkeypatch.setattr(stage5, "run_dag", lambda _lab, dag: done.append(dag))
    monkeypatch.setattr(time, "sleep", done.append)
    trained = next(step for step in own_traffic.MODEL.steps if step.command == stage6.NOTEBOOK)
    with pytest.raises(NotSeenError, match="the kernel died"):
        trained.see(Lab())
    assert done == [180, "moderation_training", 0, "moderation_training"]


def test_a_step_that_was_not_tried_is_no_success() -> None:
    rehearsed = Rehearsed("abc", "Docker", results=[Result("2", _step("look"), None, "not tried", 0.0)])
    assert not rehearsed.passed


def test_a_late_sight_is_waited_for() -> None:
    complaints = [NotSeenError("starting"), NotSeenError("starting")]

    def probe() -> str:
        if complaints:
            raise complaints.pop()
        return "healthy"

    assert until(probe, 10) == "healthy"


def test_after_the_deadline_the_last_complaint_is_final() -> None:
    with pytest.raises(NotSeenError, match=r"unhealthy \(waited 0 s\)"):
        until(lambda: expect(False, "unhealthy"), 0.0)


def test_a_command_keeps_its_end_and_its_output_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMAND_LOG", tmp_path / "commands.log")
    ended = commands.run("sh", "-c", "echo seen; echo why >&2; exit 3")
    assert (ended.code, ended.stdout, ended.output) == (3, "seen", "seen\nwhy")
    assert "[3, " in (tmp_path / "commands.log").read_text()
    with pytest.raises(NotSeenError, match="ended with code 3:\nseen\nwhy"):
        ended.must_succeed()
    with pytest.raises(RehearsalError, match="There is no program no-such"):
        commands.check("no-such")


def test_the_usual_stages_leave_out_what_an_option_adds() -> None:
    added = {"browser", "browser-mlflow", "operations", "rounds", "5-own", "6-own"}
    assert [stage.key for stage in STAGES if stage.key not in added] == list(USUAL)
