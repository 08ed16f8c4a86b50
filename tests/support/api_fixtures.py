"""Fixtures of tests that talk to an API."""

from collections.abc import AsyncIterator

import pytest

from tests.support.api import Api, running_api


@pytest.fixture(scope="module")
def api_environment(
    database_url: str, s3_environment: dict[str, str], kafka_environment: dict[str, str]
) -> dict[str, str]:
    """Variables of an API with stores of its own."""
    kafka = {name: value for name, value in kafka_environment.items() if name != "KAFKA_TOPICS"}
    return {"DATABASE_URL": database_url, **s3_environment, **kafka}


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
async def api(request: pytest.FixtureRequest, api_environment: dict[str, str]) -> AsyncIterator[Api]:
    """Both versions of the API, one after the other: they share one contract."""
    async with running_api(request.param, api_environment) as running:
        yield running


@pytest.fixture(scope="module")
async def api_v2(api_environment: dict[str, str]) -> AsyncIterator[Api]:
    """Version 2 alone."""
    async with running_api(2, api_environment) as running:
        yield running
