"""Settings of the API: the stores it uses, and its own limits."""

from typing import Annotated

from pydantic import Field

from gourmetgram.settings import LogSettings, ObjectStoreSettings, PostgresSettings


class ApiSettings(PostgresSettings, ObjectStoreSettings, LogSettings):
    """Settings of api_v1."""

    api_workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share the port. Each has the two memory budgets below and up to 15 connections to PostgreSQL."""

    max_upload_bytes: Annotated[int, Field(ge=1, le=100 * 1024 * 1024)] = 10 * 1024 * 1024
    """Largest image file, bytes."""

    max_image_pixels: Annotated[int, Field(ge=1, le=500_000_000)] = 50_000_000
    """Largest image once decoded, pixels; files that take much memory per pixel may have fewer (the next setting)."""

    decoding_budget_bytes: Annotated[int, Field(ge=1_000_000)] = 200 * 1024 * 1024
    """Memory of all images that are decoded at the same time, bytes. Also the limit of one image."""

    upload_budget_bytes: Annotated[int, Field(ge=1_000_000)] = 64 * 1024 * 1024
    """Announced bytes of all uploads in progress. They take up to twice that in memory."""

    orphan_after_seconds: Annotated[float, Field(ge=5, le=86_400)] = 60.0
    """Age in seconds at which a picture without a row is removed. An upload ends within 4 s."""

    moderation_retention_days: Annotated[int, Field(ge=31)] = 400
    """Age at which a decision is removed, days. More than the 30 days of the topics, which hold its request."""

    enable_bench_route: bool = False
    """Offer `GET /bench/noop`, which touches no store: the baseline of measurements."""
