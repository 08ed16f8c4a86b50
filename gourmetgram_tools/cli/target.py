"""Target of a command: a local stack, or the Compose lab on this machine."""

from enum import StrEnum
from typing import Annotated

import typer

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.compose.commands import COMPOSE_FILE
from gourmetgram_tools.compose.model_keys import running_keys
from gourmetgram_tools.compose.settings import ComposeSettings, variables_of
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.stack import Stack


class Target(StrEnum):
    """Ways in which the platform runs."""

    LOCAL = "local"
    COMPOSE = "compose"


StackOption = Annotated[
    str | None, typer.Option("--stack", help="Local stack to read, as in `gourmetgram --stack NAME`.")
]
TargetOption = Annotated[
    Target,
    typer.Option("--target", help="`local`: a stack of this command. `compose`: the lab's published ports."),
]


def selected_platform(context: typer.Context, stack: str | None, target: Target) -> Platform:
    """Addresses of the platform that the options name.

    Raises:
        StackError: there is no such stack.
        SettingsError: docker/.env has a value that is not allowed.
    """
    if target is Target.COMPOSE:
        variables = environment(context, stack, target)
        return Platform.from_environment(
            variables,
            {**variables, "KAFKA_CONSUMER_GROUP": "gourmetgram-stream-consumer"},
            {**variables, "KAFKA_CONSUMER_GROUP": "gourmetgram-moderation"},
        )
    return platform_of(local_stack(context, stack, target))


def platform_of(stack: Stack) -> Platform:
    """Addresses of a local stack."""
    return Platform.from_environment(
        stack.environment(), stack.environment("stream_consumer"), stack.environment("risk_scoring_service")
    )


def local_stack(context: typer.Context, stack: str | None, target: Target) -> Stack:
    """Local stack that the options name.

    Raises:
        StackError: there is no such stack, or the target is Compose.
    """
    if target is Target.COMPOSE:
        raise StackError(
            f"The services of the Compose lab are not this command's: use `docker compose -f {COMPOSE_FILE} "
            "stop data_generator` and `start data_generator`."
        )
    return Stack.load(stack or context.obj)


def environment(context: typer.Context, stack: str | None, target: Target) -> dict[str, str]:
    """Variables with which a data generator reaches the platform."""
    if target is Target.LOCAL:
        chosen = local_stack(context, stack, target)
        # With the owner's logins: commands do more than a data generator.
        return {**chosen.environment("data_generator"), **chosen.environment()}
    variables = variables_of(PROJECT_ROOT / "docker" / ".env")
    lab = compose_settings()
    login = f"{lab.postgres_user}:{lab.postgres_password}"
    return {
        **variables,
        "MODEL_SIGNING_KEYS": variables.get("MODEL_SIGNING_KEYS") or ",".join(running_keys()),
        "DATABASE_URL": f"postgresql://{login}@localhost:5432/{lab.postgres_db}",
        "KAFKA_BOOTSTRAP_SERVERS": "localhost:19092",
        "REDIS_HOST": "localhost",
        "REDIS_PORT": "6379",
        "AWS_ACCESS_KEY_ID": lab.minio_root_user,
        "AWS_SECRET_ACCESS_KEY": lab.minio_root_password,
        "S3_ENDPOINT_URL": "http://localhost:9000",
        "GENERATOR_API_URL": "http://localhost:8000",
        "MLFLOW_TRACKING_URI": "http://localhost:5000",
        "PYICEBERG_CATALOG__GOURMETGRAM__URI": f"postgresql+psycopg2://{login}@localhost:5432/iceberg_catalog",
        "PYICEBERG_CATALOG__GOURMETGRAM__S3__ENDPOINT": "http://localhost:9000",
        "PYICEBERG_CATALOG__GOURMETGRAM__S3__ACCESS_KEY_ID": lab.minio_root_user,
        "PYICEBERG_CATALOG__GOURMETGRAM__S3__SECRET_ACCESS_KEY": lab.minio_root_password,
    }


def compose_settings() -> ComposeSettings:
    """Settings of the Compose lab, from docker/.env and the caller's environment.

    Raises:
        SettingsError: a value is not allowed.
    """
    return ComposeSettings.of(PROJECT_ROOT / "docker" / ".env")
