"""What a service of a stack is given, and how supervisord is told."""

import importlib
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from supervisor.datatypes import dict_of_key_value_pairs
from supervisor.options import ServerOptions

from gourmetgram.settings import Settings
from gourmetgram_tools.local.component import Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.jupyter import JUPYTER
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.services import SERVICES, inherited_environment, is_address, is_switch
from gourmetgram_tools.local.stack import Stack
from gourmetgram_tools.local.supervision import render_config


def supervisor_reads(text: str, folder: Path) -> dict[str, dict[str, str]]:
    """Environment of each program, as supervisord itself reads the configuration."""
    file = folder / "supervisord.conf"
    file.write_text(text)
    options = ServerOptions()
    options.realize(["-c", str(file)])
    return {
        process.name: process.environment
        for group in options.process_group_configs
        for process in group.process_configs
    }


def one_program(tmp_path: Path, **environment: str) -> str:
    layout = Layout("mine", tmp_path)
    layout.logs.mkdir(parents=True, exist_ok=True)
    program = Program(command=("/bin/echo", "100%", "a b"), directory=tmp_path, environment=environment)
    return render_config(layout, {"one": program}, as_root=False)


@pytest.mark.parametrize(
    "value", ["plain", "postgresql://user:pa%ss@127.0.0.1:5432/x?a=b,c=d", "5, 30", "it's", 'say "hi" now', "a;b#c", ""]
)
def test_supervisord_reads_back_the_value_that_was_written(value: str, tmp_path: Path) -> None:
    assert supervisor_reads(one_program(tmp_path, NAME=value), tmp_path)["one"]["NAME"] == value


@pytest.mark.parametrize("value", ["two\nlines", "both ' and \"", "a ; comment", "a # comment", '"quoted"'])
def test_a_value_that_supervisord_would_change_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="value of NAME cannot be passed on"):
        one_program(tmp_path, NAME=value)


def test_supervisord_would_change_such_a_value_indeed() -> None:
    assert dict_of_key_value_pairs("NAME='\"quoted\"'") == {"NAME": "quoted"}


def test_a_switch_of_the_caller_reaches_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY_VERSION", "v2")
    assert Stack("mine", tmp_path).environment("risk_scoring_service")["POLICY_VERSION"] == "v2"


def test_an_address_of_the_caller_does_not_reach_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    monkeypatch.setenv("GENERATOR_API_URL", "http://elsewhere")
    stack = Stack("mine", tmp_path)
    assert stack.environment("api_v2")["DATABASE_URL"] == stack.postgres.role_url("gourmetgram_api")
    assert "elsewhere" not in str(stack.environment("data_generator"))


def test_what_supervisord_inherits_has_no_setting_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY_VERSION", "v2")
    monkeypatch.setenv("REDIS_HOST", "elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    inherited = inherited_environment()
    assert not {"POLICY_VERSION", "REDIS_HOST", "PYTHONDONTWRITEBYTECODE"} & inherited.keys()
    assert inherited["SOMETHING_ELSE"] == "kept"


@pytest.mark.parametrize(
    "module",
    [
        "api_v1.settings",
        "api_v2.settings",
        "data_generator.settings",
        "gourmetgram.settings",
        "risk_scoring_service.settings",
        "stream_consumer.settings",
    ],
)
def test_every_setting_of_a_service_is_known_as_a_switch_or_an_address(module: str) -> None:
    classes = [
        value
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type) and issubclass(value, Settings)
    ]
    names = {name.upper() for each in classes for name in each.model_fields}
    assert names
    assert {name for name in names if not is_switch(name) and not is_address(name)} == set()


def test_the_overrides_file_wins_over_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY_VERSION", "v1")
    stack = Stack("mine", tmp_path)
    stack.folder.mkdir()
    (stack.folder / "overrides.env").write_text("# for one run\nPOLICY_VERSION=v2\nREDIS_DB=3\n")
    variables = stack.environment("risk_scoring_service")
    assert (variables["POLICY_VERSION"], variables["REDIS_DB"]) == ("v2", "3")


def test_each_worker_has_its_own_health_port_and_group(tmp_path: Path) -> None:
    stack = Stack("mine", tmp_path)
    consumer, scorer = stack.environment("stream_consumer"), stack.environment("risk_scoring_service")
    assert int(consumer["HEALTH_PORT"]) == stack.ports.stream_consumer
    assert int(scorer["HEALTH_PORT"]) == stack.ports.risk_scoring_service
    assert consumer["KAFKA_CONSUMER_GROUP"] == "gourmetgram-stream-consumer"
    assert scorer["KAFKA_CONSUMER_GROUP"] == "gourmetgram-moderation"
    assert "HEALTH_PORT" not in stack.environment()


def test_each_program_logs_in_with_a_role_of_its_own_and_commands_with_the_owner_s(tmp_path: Path) -> None:
    stack = Stack("mine", tmp_path)
    logins = {name: make_url(stack.environment(name)["DATABASE_URL"]).username for name in (*SERVICES, JUPYTER, None)}
    assert logins == {
        "api_v1": "gourmetgram_api",
        "api_v2": "gourmetgram_api",
        "stream_consumer": "gourmetgram_consumer",
        "risk_scoring_service": "gourmetgram_scorer",
        "data_generator": "gourmetgram_generator",
        JUPYTER: "gourmetgram_batch",
        None: "user",
    }


def test_each_program_has_a_user_of_its_own_in_the_object_store_and_commands_have_the_root_user(tmp_path: Path) -> None:
    stack = Stack("mine", tmp_path)
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__S3__"
    users = {
        "api_v1": "gourmetgram_api",
        "api_v2": "gourmetgram_api",
        "risk_scoring_service": "gourmetgram_scorer",
        "data_generator": "gourmetgram_generator",
        "airflow": "gourmetgram_batch",
        JUPYTER: "gourmetgram_jupyter",
        MLFLOW: "gourmetgram_mlflow",
        None: "admin",
    }
    for name, user in users.items():
        environment = stack.environment(name)
        assert environment["AWS_ACCESS_KEY_ID"] == environment[f"{prefix}ACCESS_KEY_ID"] == user
        assert environment["AWS_SECRET_ACCESS_KEY"] == environment[f"{prefix}SECRET_ACCESS_KEY"]
    assert not [key for key in stack.environment("stream_consumer") if "ACCESS_KEY" in key]
