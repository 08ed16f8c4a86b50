"""Whatever stops, comes back old, or comes twice: every event counts once, and no request is repeated or lost."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from gourmetgram.clients.redis import WORKER, connect
from gourmetgram.events import Event, Record
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.offsets import commit_offsets
from gourmetgram.redis_keys import OFFSETS, SEEN
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from gourmetgram_tools.local import toolchain
from stream_consumer.batch import EligibleEvent, EventBatch, build_call
from stream_consumer.store.batches import BatchStore
from stream_consumer.store.scripts import vocabulary
from tests.support.consumer_platform import ConsumerPlatform, event, free_port, new_image, now_us
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

SECOND = 1_000_000


def burst(image: str, views: int = 110, flags: int = 2) -> list[dict[str, Any]]:
    kinds = ["view"] * views + ["flag"] * flags
    start = now_us() - len(kinds) * 1000
    return [event(kind, image, start + 1000 * number) for number, kind in enumerate(kinds)]


def request_ids(platform: ConsumerPlatform) -> list[str]:
    return [item["request_id"] for item in platform.requests()]


@contextmanager
def own_redis(platform: ConsumerPlatform, folder: Path) -> Iterator["RedisServer"]:
    """A Redis that a test may stop, kill, and set back."""
    server = RedisServer(folder)
    server.start()
    shared = platform.redis, dict(platform.environment)
    platform.redis = redis.Redis("127.0.0.1", server.port, 0, decode_responses=True)
    platform.environment |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port), "REDIS_DB": "0"}
    try:
        yield server
    finally:
        platform.redis.close()
        platform.redis, platform.environment = shared
        server.stop(signal.SIGKILL)


class RedisServer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "redis"
        self.folder.mkdir()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                str(toolchain.valkey_server()),
                *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning"),
            ]
        )
        with redis.Redis("127.0.0.1", self.port) as client:
            wait_until(lambda: self._answers(client), 10, "Redis to answer")

    def stop(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    @property
    def log_of_writes(self) -> Path:
        """The append-only file (Redis 6: one; Redis 7: the increment in a folder)."""
        single = self.folder / "appendonly.aof"
        return single if single.exists() else next((self.folder / "appendonlydir").glob("*.incr.aof"))

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def rewind(platform: ConsumerPlatform) -> None:
    """Set the group's offsets in Kafka back to the beginning."""
    reader = create_consumer(
        KafkaSettings.load(platform.environment), "rewind", platform.environment["KAFKA_CONSUMER_GROUP"]
    )
    commit_offsets(reader, dict.fromkeys(platform.end_offsets(), 0))
    reader.close()


def test_records_that_kafka_delivers_again_change_nothing(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image))
    with platform.consumer():
        platform.wait_settled()
    before, ids = platform.image_state(), request_ids(platform)
    rewind(platform)
    with platform.consumer():
        platform.publish([event("view", other := new_image(), now_us())])
        platform.wait_settled()
        assert platform.total(other) == 1
    after = {key: value for key, value in platform.image_state().items() if other not in key}
    assert after == before
    assert request_ids(platform) == ids


def test_copies_that_the_relay_publishes_again_change_nothing(platform: ConsumerPlatform) -> None:
    image = new_image()
    events = burst(image)
    platform.publish(events)
    with platform.consumer():
        platform.wait_settled()
        before, ids = platform.image_state(), request_ids(platform)
        platform.publish(events)
        platform.publish(reversed(events))
        platform.wait_settled()
    assert platform.image_state() == before
    assert request_ids(platform) == ids


def test_copies_within_one_batch_count_once(platform: ConsumerPlatform) -> None:
    image = new_image()
    events = burst(image)
    platform.publish([item for item in events for _ in range(3)])
    with platform.consumer():
        platform.wait_settled()
    assert platform.total(image) == 110
    assert platform.total(image, "flags") == 2
    assert len(request_ids(platform)) == 2


def test_an_emptied_redis_is_built_again_from_the_events_without_new_requests(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image))
    with platform.consumer():
        platform.wait_settled()
        before, first = platform.image_state(), platform.requests()
        platform.redis.flushdb()
        platform.wait_settled()
        wait_until(lambda: platform.image_state() == before, 20, "the state to be built again")
        platform.wait_settled()
    # The broker has the requests, so they are recognised and not sent again.
    assert platform.requests() == first


def test_offsets_that_were_deleted_in_redis_count_nothing_twice(platform: ConsumerPlatform) -> None:
    """As by hand in Redis Insight, long after the events: their ids are forgotten, so only offsets protect totals."""
    image = new_image()
    platform.publish(burst(image, views=50, flags=0))
    with platform.consumer():
        platform.wait_settled()
    platform.redis.delete(OFFSETS, *platform.redis.keys(SEEN % "*"))
    platform.publish(burst(image, views=7, flags=0))
    with platform.process() as process:
        platform.wait_settled()
        assert "its offset was deleted in Redis" in process.log
    assert platform.total(image) == 57


def test_a_redis_that_may_evict_keys_is_refused_until_its_policy_is_right(
    platform: ConsumerPlatform, tmp_path: Path
) -> None:
    platform.publish(burst(image := new_image(), views=7, flags=0))
    with own_redis(platform, tmp_path):
        platform.redis.config_set("maxmemory", "100mb")
        platform.redis.config_set("maxmemory-policy", "allkeys-lru")
        with platform.process() as process:
            process.wait_line("maxmemory-policy allkeys-lru")
            assert platform.total(image) == 0
            platform.redis.config_set("maxmemory-policy", "noeviction")
            platform.wait_settled()
        assert platform.total(image) == 7


def test_topics_with_different_numbers_of_partitions_are_refused_by_name(platform: ConsumerPlatform) -> None:
    admin = AdminClient({"bootstrap.servers": platform.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    number = len(admin.list_topics(timeout=10).topics[platform.topic("view")].partitions)

    def grow(*kinds: str) -> None:
        wanted = [NewPartitions(platform.topic(kind), number + 1) for kind in kinds]
        for answer in admin.create_partitions(wanted).values():
            answer.result(10)

    grow("view")
    with platform.process() as process:
        process.wait_line("different numbers of partitions")
        assert f"{platform.topic('view')} has {number + 1}" in process.log
        grow("comment", "flag", "upload")
        platform.publish(burst(image := new_image(), views=7, flags=0))
        platform.wait_settled()
    assert platform.total(image) == 7


def test_a_redis_that_lost_its_latest_writes_is_brought_up_to_date(platform: ConsumerPlatform, tmp_path: Path) -> None:
    image = new_image()
    with own_redis(platform, tmp_path) as server, platform.consumer():
        platform.publish(burst(image, views=60, flags=1))
        platform.wait_settled()
        old = server.log_of_writes.read_bytes()
        platform.publish(burst(image, views=60, flags=1))
        platform.wait_settled()
        # The machine lost its last second: the file ends earlier, in the middle of a write.
        server.stop(signal.SIGKILL)
        lost = server.log_of_writes
        lost.write_bytes(lost.read_bytes()[: len(old) + 200])
        server.start()
        assert platform.total(image) < 120 or platform.redis.exists("consumer:offsets")
        platform.wait_settled()
        assert platform.total(image) == 120
        assert platform.total(image, "flags") == 2
        assert platform.redis.zcard(f"image:{image}:views:1hr") == 120
    assert len(set(request_ids(platform))) == 2


def test_requests_that_redis_forgot_after_they_were_published_are_not_sent_with_another_content(
    platform: ConsumerPlatform, tmp_path: Path
) -> None:
    image = new_image()
    with own_redis(platform, tmp_path) as server, platform.consumer():
        platform.publish(burst(image, views=90, flags=1))
        platform.wait_settled()
        old = server.log_of_writes.read_bytes()
        platform.publish(burst(image, views=20, flags=1))
        platform.wait_settled()
        # Late events, which would change the counts of the requests, and offsets that would change `read_to`.
        late = now_us() - 60 * SECOND
        platform.publish([event(kind, image, late) for kind in ("comment", "flag", "view") for _ in range(5)])
        platform.wait_settled()
        first = platform.requests()
        server.stop(signal.SIGKILL)
        server.log_of_writes.write_bytes(old)
        server.start()
        platform.wait_settled()
        assert platform.total(image) == 115
    by_id: dict[str, Any] = {}
    for item in platform.requests():
        assert by_id.setdefault(item["request_id"], item) == item
    assert sorted(by_id) == sorted(item["request_id"] for item in first)


def test_nothing_is_committed_while_redis_is_away_and_all_is_exact_afterwards(
    platform: ConsumerPlatform, tmp_path: Path
) -> None:
    image = new_image()
    with own_redis(platform, tmp_path) as server, platform.process() as process:
        platform.publish(burst(image, views=50, flags=0))
        platform.wait_settled()
        process.wait_healthy()
        wait_until(lambda: sum(platform.committed().values()) == 50, 10, "the commit")
        server.stop(signal.SIGTERM)
        platform.publish(burst(image, views=60, flags=2))
        wait_until(
            lambda: (answer := process.health()) and answer.status_code == 503, 20, "the consumer to be unhealthy"
        )
        assert process.health_body()["checks"]["redis"] is False
        assert sum(platform.committed().values()) == 50
        server.start()
        platform.wait_settled()
        process.wait_healthy()
        assert platform.total(image) == 110
        assert process.terminate() == 0
    assert len(request_ids(platform)) == 2


def test_a_late_batch_of_a_replica_that_lost_its_partitions_changes_nothing(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image, views=5, flags=0))
    zombie = connect(platform.settings(), WORKER)
    store = BatchStore(zombie, vocabulary(platform.settings(), 24))
    with platform.consumer():
        platform.wait_settled()
        before = platform.image_state()
        (partition,) = (place for place, end in platform.applied().items() if end)
        stale = Event("view", new_image(), image, now_us(), now_us(), True, {})
        batch = EventBatch([EligibleEvent(stale, Record(*partition, 0, 0, None))])
        store.send(build_call(batch, {partition: (0, 1)}, {}))
        assert store.receive() is None
        assert platform.image_state() == before
        platform.publish(burst(image, views=5, flags=0))
        platform.wait_settled()
    zombie.close()
    assert platform.total(image) == 10


def test_two_replicas_share_the_images_and_one_takes_over_from_the_other(platform: ConsumerPlatform) -> None:
    images = [new_image() for _ in range(12)]
    with platform.process() as first, platform.process() as second:
        first.wait_line("Reading 8 partitions", 60)
        second.wait_line("Reading 8 partitions", 60)
        for image in images:
            platform.publish(burst(image, views=60, flags=1))
        platform.wait_settled()
        second.kill()
        for image in images:
            platform.publish(burst(image, views=60, flags=1))
        # The group notices after its session time-out of ten seconds.
        platform.wait_settled(60)
        assert [platform.total(image) for image in images] == [120] * 12
        assert first.terminate() == 0
    wanted = sorted((image, trigger) for image in images for trigger in ("viral", "flagged"))
    unique = {item["request_id"]: (item["image_id"], item["trigger"]) for item in platform.requests()}
    assert sorted(unique.values()) == wanted
    contexts: dict[str, Any] = {}
    for item in platform.requests():
        assert contexts.setdefault(item["request_id"], item) == item


def test_sigterm_in_the_middle_of_the_stream_ends_in_time_and_loses_nothing(platform: ConsumerPlatform) -> None:
    image = new_image()

    def is_beyond(reached: int) -> bool:
        return platform.total(image) > reached

    total = 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        with platform.process(CONSUMER_MAX_BATCH_RECORDS="50") as process:
            platform.publish(burst(image, views=2000, flags=0))
            total += 2000
            reached = platform.total(image)
            wait_until(partial(is_beyond, reached), 30, "the first batches")
            started = time.monotonic()
            assert process.terminate(number) == 0
            assert time.monotonic() - started < 5
            assert "FINAL STATISTICS" in process.log
            applied = {place: end for place, end in platform.applied().items() if end}
            held = platform.redis.keys("consumer:pending:*")
            assert held or platform.committed().items() >= applied.items()
    with platform.consumer():
        platform.wait_settled()
    assert platform.total(image) == total
    assert len(request_ids(platform)) == 1


def test_a_kill_between_the_batch_and_its_request_repeats_the_same_message(platform: ConsumerPlatform) -> None:
    """What Redis holds after the kill is enough: the next consumer sends what was raised, once more if it must."""
    image = new_image()
    platform.publish(burst(image))
    for _ in range(3):
        with platform.process() as process:
            wait_until(lambda: platform.total(image) > 0 or process.popen.poll() is not None, 30, "a batch")
            process.kill()
    with platform.consumer():
        platform.wait_settled()
    messages = platform.requests()
    assert {item["trigger"] for item in messages} == {"viral", "flagged"}
    by_id: dict[str, Any] = {}
    for item in messages:
        assert by_id.setdefault(item["request_id"], item) == item
    assert len(by_id) == 2
    assert platform.total(image) == 110


def test_a_topic_made_anew_is_read_from_its_beginning(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image, views=30, flags=0))
    with platform.consumer():
        platform.wait_settled()
    topic = platform.topic("view")
    admin = AdminClient({"bootstrap.servers": platform.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    admin.delete_topics([topic])[topic].result(10)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, 20, "the topic to go")
    ensure_topics(KafkaSettings.load(platform.environment), [topic], 4)
    # More records than before: the old offset would hide the first of them.
    platform.publish(burst(image, views=50, flags=0))
    with platform.process() as process:
        platform.wait_settled()
        assert "created again" in process.log
    assert platform.total(image) == 80


def test_records_that_were_deleted_before_they_were_read_are_missed_aloud(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image, views=10, flags=0))
    with platform.consumer():
        platform.wait_settled()
    platform.publish(burst(image, views=10, flags=0))
    (place,) = (place for place, end in platform.end_offsets().items() if end)
    admin = AdminClient({"bootstrap.servers": platform.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    cut = TopicPartition(*place, 15)
    admin.delete_records([cut])[cut].result(10)
    with platform.process() as process:
        platform.wait_settled()
        assert "records 10 to 14 were deleted" in process.log
    assert platform.total(image) == 15


def test_a_consumer_that_starts_before_its_servers_waits_for_them(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image, views=3, flags=0))
    with platform.process(REDIS_PORT=str(free_port())) as lonely:
        lonely.wait_line("Waiting for a server")
        assert lonely.popen.poll() is None
        assert lonely.terminate() == 0
    with platform.process(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}") as lonely:
        answer = wait_until(lonely.health, 20, "the health page")
        assert answer.status_code == 503
        assert lonely.terminate() == 0
