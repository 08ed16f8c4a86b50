"""Which platform the commands look at."""

from pathlib import Path

import pytest
import typer
from typer.main import get_command

from gourmetgram.errors import SettingsError
from gourmetgram.windows import TriggerSettings
from gourmetgram_tools.cli import target
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.cli.target import Target, environment, local_stack, selected_platform
from gourmetgram_tools.local.errors import StackError

CONTEXT = typer.Context(get_command(app), obj="default")


@pytest.fixture(name="docker")
def docker_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with an empty docker folder."""
    for name in ("POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "POSTGRES_USER", "POSTGRES_DB", "MINIO_ROOT_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(target, "PROJECT_ROOT", tmp_path)
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker"


def test_compose_means_the_published_ports_with_the_lab_s_passwords(docker: Path) -> None:
    platform = selected_platform(CONTEXT, None, Target.COMPOSE)
    assert platform.postgres.database_url == "postgresql://user:gourmetgram_postgres@localhost:5432/gourmetgram"
    assert platform.kafka.kafka_bootstrap_servers == "localhost:19092"
    assert (platform.redis.redis_host, platform.redis.redis_port) == ("localhost", 6379)
    assert platform.objects.s3_endpoint_url == "http://localhost:9000"
    assert platform.api_url == "http://localhost:8000"
    assert (platform.consumer_group, platform.scorer_group) == (
        "gourmetgram-stream-consumer",
        "gourmetgram-moderation",
    )
    assert platform.rules == TriggerSettings()


def test_compose_takes_passwords_and_thresholds_from_its_env_file(docker: Path) -> None:
    (docker / ".env").write_text(
        "POSTGRES_PASSWORD=other\nMINIO_ROOT_PASSWORD=secret\nVIRAL_THRESHOLD_VIEWS_5MIN=7\nRESCORE_AT_MINUTES=5, 30\n"
    )
    platform = selected_platform(CONTEXT, None, Target.COMPOSE)
    assert ":other@" in platform.postgres.database_url
    assert platform.objects.aws_secret_access_key == "secret"
    assert platform.rules.viral_threshold_views_5min == 7
    assert platform.rules.rescore_at_minutes == (5, 30)


def test_a_threshold_that_is_no_number_is_refused_by_its_name(docker: Path) -> None:
    (docker / ".env").write_text("VIRAL_THRESHOLD_VIEWS_5MIN=many\n")
    with pytest.raises(SettingsError, match="VIRAL_THRESHOLD_VIEWS_5MIN"):
        selected_platform(CONTEXT, None, Target.COMPOSE)


def test_the_services_of_compose_are_not_stopped_by_this_command(docker: Path) -> None:
    with pytest.raises(StackError, match="stop data_generator"):
        local_stack(CONTEXT, None, Target.COMPOSE)
    assert environment(CONTEXT, None, Target.COMPOSE)["GENERATOR_API_URL"] == "http://localhost:8000"


def test_an_unknown_stack_is_refused_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOURMETGRAM_STACK_HOME", str(tmp_path))
    with pytest.raises(StackError, match="There is no stack 'nowhere'"):
        selected_platform(CONTEXT, "nowhere", Target.LOCAL)
