"""Settings of the data generator, named like their environment variables in lower case."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from gourmetgram.settings import LogLevel, Seconds, WorkerSettings

Count = Annotated[int, Field(ge=0, le=1_000_000)]
EventNumber = Annotated[int, Field(ge=0, le=100_000_000)]


def _with_usable_port(url: str) -> str:
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise ValueError(f"the port must be a number from 0 to 65535 ({error})") from error
    return url


class GeneratorSettings(WorkerSettings):
    """Settings of the traffic: its kind, its rates, its target."""

    health_port: Annotated[int, Field(ge=0, le=65535)] = 9103
    """Port of `/health` and `/metrics` in poisson mode; 0 takes a free one."""

    generator_mode: Literal["poisson", "simulate_viral", "backfill"] = "poisson"
    generator_api_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+"), AfterValidator(_with_usable_port)] = (
        "http://localhost:8000"
    )
    generator_dataset_path: Path = Path("/data/Food-11")
    """Folder of the sorted data set; the bundled sample set replaces a missing one."""
    generator_arrival_rate: Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)] = 150.0
    """Events per hour, of all kinds together."""
    generator_initial_users: Count = 0
    generator_initial_images: Count = 0
    generator_request_timeout: Annotated[Seconds, Field(le=3600)] = 30.0
    """Seconds after which a request is given up."""
    generator_log_level: LogLevel = "INFO"
    generator_tos_version: Annotated[int, Field(ge=1, le=2_147_483_647)] = 3
    """Version of the terms of service that new users accept."""
    generator_test_account_rate: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Share of new users that are test accounts."""

    generator_target_image_id: UUID | None = None
    """Image of a viral burst; a fresh upload when unset."""
    generator_burst_views: Count = 110
    generator_burst_comments: Count = 8
    generator_burst_flags: Count = 2

    generator_backfill_days: Annotated[int, Field(ge=1, le=3650)] = 7
    """Days of the backfilled history, which ends between one and two hours ago."""
    generator_backfill_images: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    generator_backfill_events: EventNumber = 200_000
    """Number of backfilled uploads, views, comments and flags together."""
    generator_backfill_seed: int = 42
    generator_backfill_truth_path: Path = Path("ground-truth.csv")
    """Path of the file with the hidden properties of the behaviour model."""

    @model_validator(mode="after")
    def _an_upload_is_an_event(self) -> Self:
        if self.generator_mode == "backfill" and self.generator_backfill_events < self.generator_backfill_images:
            raise ValueError("GENERATOR_BACKFILL_EVENTS must be at least GENERATOR_BACKFILL_IMAGES: uploads are events")
        return self
