"""A backlog: Redis works on one batch while the next one is parsed, and is asked nothing else meanwhile."""

import itertools
import logging
from typing import Any

import pytest

from stream_consumer.handlers import BatchHandler
from stream_consumer.store.batches import BatchStore
from stream_consumer.store.requests import RequestStore
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us

pytestmark = pytest.mark.servers


def test_nothing_waits_behind_a_batch_that_redis_works_on(
    platform: ConsumerPlatform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls: list[str] = []

    def note(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return method(*arguments, **named)

        monkeypatch.setattr(owner, name, noted)

    for owner, name in (
        (BatchHandler, "prepare"),
        (BatchStore, "send"),
        (BatchStore, "receive"),
        (BatchStore, "window_counts"),
        (RequestStore, "freeze"),
        (RequestStore, "confirm"),
    ):
        note(owner, name)
    images = [new_image() for _ in range(5)]
    start = now_us() - 60_000_000
    platform.publish(event("view", images[number % 5], start + 1000 * number) for number in range(1200))
    with platform.consumer(CONSUMER_MAX_BATCH_RECORDS="100", CONSUMER_MAX_POLL_RECORDS="100"):
        platform.wait_settled()
    assert len(platform.requests()) == len(images)
    # The batch after a full one is prepared in its time; whatever else is asked comes between two batches.
    behind = [after for before, after in itertools.pairwise(calls) if before == "send"]
    assert behind.count("prepare") >= 5
    assert set(behind) <= {"prepare", "receive"}
    assert {"freeze", "confirm", "window_counts"} <= set(calls)
