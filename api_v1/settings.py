"""Settings of the API: the stores it uses, and its own limits."""

from typing import Annotated

from pydantic import Field

from gourmetgram.settings import LogSettings, ObjectStoreSettings, PostgresSettings


class ApiSettings(PostgresSettings, ObjectStoreSettings, LogSettings):
    """What api_v1 reads from its environment."""

    max_upload_bytes: Annotated[int, Field(ge=1, le=100 * 1024 * 1024)] = 10 * 1024 * 1024
    """Largest image file, bytes."""

    max_image_pixels: Annotated[int, Field(ge=1, le=500_000_000)] = 50_000_000
    """Largest image once decoded, pixels: bounds the memory that a small file can ask for."""

    orphan_after_seconds: Annotated[float, Field(ge=5, le=86_400)] = 60.0
    """A picture that has had no row for this long is removed, seconds. An upload ends within 4 s."""

    enable_bench_route: bool = False
    """Offer `GET /bench/noop`, which touches nothing: what a measured route is compared with."""
