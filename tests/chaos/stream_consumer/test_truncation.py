"""A broker that comes back from an older copy of its disk under the stream consumer: nothing is skipped or doubled."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gourmetgram.redis_keys import LAST_RECORDS
from gourmetgram_tools.local.stack import Stack
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.own_stack import own_stack

pytestmark = [pytest.mark.chaos, pytest.mark.servers]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack("consumer-truncation", tmp_path_factory.mktemp("home")) as stack:
        stack.up(services=())
        yield stack


@pytest.fixture
def platform(own: Stack, tmp_path: Path) -> Iterator[ConsumerPlatform]:
    environment = {**own.environment("stream_consumer"), "HEALTH_PORT": "0"}
    client = redis.Redis(environment["REDIS_HOST"], int(environment["REDIS_PORT"]), decode_responses=True)
    yield ConsumerPlatform(environment, client, tmp_path)
    client.close()


class Disk:
    """The broker's data folder, which can be set back to a copy."""

    def __init__(self, own: Stack, folder: Path) -> None:
        self._own = own
        self._data, self._copy = own.folder / "kafka" / "data", folder / "copy"
        own.stop("kafka")
        shutil.copytree(self._data, self._copy)
        own.start("kafka")

    def set_back(self) -> None:
        self._own.stop("kafka")
        shutil.rmtree(self._data)
        shutil.copytree(self._copy, self._data)
        self._own.start("kafka")


def publish(platform: ConsumerPlatform, image: str, views: int) -> None:
    # A new client each time: one that knows the lost log would not trust the old one.
    ConsumerPlatform(platform.environment, platform.redis, platform.folder).publish(
        [event("view", image, now_us()) for _ in range(views)]
    )


def test_new_records_under_offsets_that_were_applied_count_once_each(
    own: Stack, platform: ConsumerPlatform, tmp_path: Path
) -> None:
    image = new_image()
    publish(platform, image, 10)
    disk = Disk(own, tmp_path)
    publish(platform, image, 10)
    with platform.process():
        platform.wait_settled()
        assert platform.total(image) == 20
    disk.set_back()
    # Ten records are lost, which were counted. Fifteen new ones take their offsets and more.
    publish(platform, image, 15)
    with platform.process() as process:
        platform.wait_settled()
        process.wait_line("has lost records before offset 20, which were applied")
    assert platform.total(image) == 35
    assert platform.redis.zcard(f"image:{image}:views:1hr") == 35
    # From now on, the new log is the known one.
    with platform.process() as process:
        publish(platform, image, 1)
        platform.wait_settled()
        assert "has lost records" not in process.log
    assert platform.total(image) == 36


def test_a_log_that_ends_before_the_offset_in_redis_skips_nothing(
    own: Stack, platform: ConsumerPlatform, tmp_path: Path
) -> None:
    image = new_image()
    publish(platform, image, 10)
    disk = Disk(own, tmp_path)
    publish(platform, image, 10)
    with platform.process():
        platform.wait_settled()
    disk.set_back()
    publish(platform, image, 5)
    with platform.process():
        platform.wait_settled()
    assert platform.total(image) == 25


def test_a_consumer_that_runs_while_its_broker_is_set_back_ends_and_the_next_one_counts_each_event_once(
    own: Stack, platform: ConsumerPlatform, tmp_path: Path
) -> None:
    image = new_image()
    publish(platform, image, 10)
    disk = Disk(own, tmp_path)
    with platform.process() as process:
        publish(platform, image, 10)
        platform.wait_settled()
        disk.set_back()
        publish(platform, image, 25)
        # Its client would refuse the older log for good.
        assert process.popen.wait(60) == 1
        assert "the broker has lost records that were read" in process.log
    with platform.process():
        platform.wait_settled()
    assert platform.total(image) == 45


def test_the_state_of_a_version_without_last_records_is_taken_over(platform: ConsumerPlatform) -> None:
    image = new_image()
    publish(platform, image, 10)
    with platform.process():
        platform.wait_settled()
    platform.redis.delete(LAST_RECORDS)
    publish(platform, image, 5)
    with platform.process() as process:
        platform.wait_settled()
        assert "has lost records" not in process.log
    assert platform.total(image) == 15
    assert platform.redis.hlen(LAST_RECORDS) > 0
