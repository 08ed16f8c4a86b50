"""Skew on both engines: the same vectors are compared, and the same differences found."""

import pytest

from gourmetgram.settings import OfflineSettings
from tests.integration.gourmetgram_tools.inspection.test_skew import (
    Serving,
    consumer,
    lively_half_hour,
    serving,
)
from tests.support.consumer_platform import ConsumerPlatform

__all__ = ["consumer", "serving"]

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


def test_skew_is_the_same(serving: Serving, consumer: ConsumerPlatform, spark: OfflineSettings) -> None:
    lively_half_hour(serving, images=3, events=80)
    with serving.at_work(consumer):
        pass
    serving.lakehouse.aggregate()
    change = """{"views_5min": 10000, "caption_length": 77}"""
    serving.lakehouse.sql("UPDATE moderation SET features = features || %s::jsonb", change)
    found = serving.skew(spark)
    assert found.by_feature == {"views_5min": found.vectors, "caption_length": found.vectors}
    assert found.to_json() == serving.skew().to_json()
