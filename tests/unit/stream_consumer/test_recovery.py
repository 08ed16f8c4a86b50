"""Recovery at an alignment: windows that expired, and requests that the broker has already."""

import json
from collections.abc import Iterable, Mapping

from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from stream_consumer.progress import StreamProgress
from stream_consumer.recovery import WINDOWS_AGE_US, Recovery
from stream_consumer.retention import WindowRetention
from tests.support.consumer_fakes import FakeRedis, FakeSource
from tests.support.consumer_records import COMMENTS, IMAGE, START_US, VIEWS, record

MINUTE = 60_000_000
HOUR = 60 * MINUTE
REQUESTS = Partition("requests", 0)


class FakeRequests:
    def __init__(self) -> None:
        self.open_us: dict[int, int] = {}
        self.recognised: list[str] = []

    def oldest_open_us(self) -> Mapping[int, int]:
        return self.open_us

    def recognise(self, request_ids: Iterable[str]) -> None:
        self.recognised += request_ids


class Scene:
    """Views of five hours, one a minute; those of the last hour are unread. All comments are read."""

    def __init__(self) -> None:
        self.source, self.redis, self.requests = FakeSource({VIEWS: 300, COMMENTS: 300}), FakeRedis(), FakeRequests()
        self.progress = StreamProgress()
        self.source.log = {
            VIEWS: {number: record(VIEWS, number, time_us=START_US + number * MINUTE) for number in range(300)},
            COMMENTS: {
                number: record(COMMENTS, number, "comment", time_us=START_US + number * MINUTE) for number in range(300)
            },
            REQUESTS: {number: self.request(number, START_US + number * HOUR) for number in range(5)},
        }
        self.progress.restart({VIEWS: 240, COMMENTS: 300}, {VIEWS: 300, COMMENTS: 300})
        self.progress.unread_since_us = {VIEWS: START_US + 240 * MINUTE}
        self.now_us = START_US + 10 * HOUR
        self.retention = WindowRetention(self.progress, self.source, self.redis)
        self.recovery = Recovery(
            self.source,
            self.source,
            self.redis,
            self.retention,
            self.requests,
            self.progress,
            "requests",
            lambda: self.now_us,
        )

    @staticmethod
    def request(offset: int, time_us: int) -> Record:
        value = {"request_id": f"00000000-0000-4000-8000-00000000000{offset}", "image_id": IMAGE, "trigger": "viral"}
        return Record(*REQUESTS, offset, time_us, json.dumps(value).encode())

    def recover(self) -> int:
        self.recovery.start()
        while self.recovery.step():
            pass
        return self.recovery.records

    def rebuilt(self) -> dict[Partition, tuple[int, int]]:
        """First and last offset of each partition that the windows took again."""
        offsets: dict[Partition, list[int]] = {}
        for call in self.redis.rebuilt:
            for _event, held in call.events:
                offsets.setdefault(Partition.of(held), []).append(held.offset)
        return {partition: (min(found), max(found)) for partition, found in offsets.items()}


def test_after_a_long_stop_the_windows_of_all_topics_are_read_again_up_to_their_offsets() -> None:
    scene = Scene()
    scene.recover()
    # Two hours and a minute before the first unread view.
    assert scene.rebuilt() == {VIEWS: (119, 239), COMMENTS: (119, 299)}
    assert {positions for call in scene.redis.rebuilt for positions in call.positions.values()} == {
        (240, 240),
        (300, 300),
    }


def test_windows_are_trimmed_when_all_is_read() -> None:
    scene = Scene()
    scene.recover()
    scene.retention.trim()
    assert scene.redis.trimmed == []
    scene.progress.read[VIEWS] = 300
    scene.retention.trim()
    assert scene.redis.trimmed == [IMAGE]


def test_a_stop_that_the_windows_outlived_reads_nothing_again() -> None:
    scene = Scene()
    scene.now_us = START_US + 240 * MINUTE + WINDOWS_AGE_US
    scene.recover()
    assert scene.redis.rebuilt == []


def test_a_pending_request_needs_its_windows_although_all_records_are_read() -> None:
    scene = Scene()
    scene.progress.restart({VIEWS: 300, COMMENTS: 300}, {VIEWS: 300, COMMENTS: 300})
    scene.requests.open_us = {0: START_US + 290 * MINUTE}
    scene.recover()
    assert scene.rebuilt() == {VIEWS: (169, 299), COMMENTS: (169, 299)}


def test_without_unread_records_and_requests_nothing_is_read() -> None:
    scene = Scene()
    scene.progress.restart({VIEWS: 300, COMMENTS: 300}, {VIEWS: 300, COMMENTS: 300})
    assert scene.recover() == 0
    assert (scene.redis.rebuilt, scene.requests.recognised) == ([], [])


def test_requests_that_were_published_since_the_oldest_open_moment_are_recognised() -> None:
    scene = Scene()
    scene.recover()
    assert scene.requests.recognised == ["00000000-0000-4000-8000-000000000004"]


def test_a_missing_moderation_topic_recognises_nothing() -> None:
    scene = Scene()
    del scene.source.log[REQUESTS]
    scene.recover()
    assert scene.requests.recognised == []
