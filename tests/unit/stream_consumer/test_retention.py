"""Retention of windows for records that are not read yet."""

from collections.abc import Sequence

import pytest

from gourmetgram.events import Event, Record
from gourmetgram.kafka.partitions import Partition
from stream_consumer.batch import EligibleEvent
from stream_consumer.progress import StreamProgress
from stream_consumer.retention import WindowRetention
from stream_consumer.store.connection import RedisUnavailableError

VIEWS, FLAGS, OTHER = Partition("views", 1), Partition("flags", 1), Partition("views", 2)
UNKNOWN = -1001


class FakeEnds:
    def __init__(self) -> None:
        self.known: dict[Partition, int] = {}

    def known_end(self, partition: Partition) -> int:
        return self.known.get(partition, UNKNOWN)


class FakeTrimmer:
    def __init__(self) -> None:
        self.trimmed: list[str] = []
        self.away = False

    def trim(self, images: Sequence[str]) -> None:
        if self.away:
            raise RedisUnavailableError("away")
        self.trimmed += images


class Scene:
    def __init__(self) -> None:
        self.progress, self.ends, self.trimmer = StreamProgress(), FakeEnds(), FakeTrimmer()
        self.progress.restart({VIEWS: 5, FLAGS: 7, OTHER: 0}, {VIEWS: 5, FLAGS: 9, OTHER: 100})
        self.retention = WindowRetention(self.progress, self.ends, self.trimmer)

    def hold(self, *events: tuple[str, int]) -> None:
        """Hold images whose events (image, time) come in partition number 1."""
        self.retention.hold([held(image, time_us) for image, time_us in events], self.retention.horizons([1]))


def held(image: str, time_us: int) -> EligibleEvent:
    return EligibleEvent(Event("view", "e", image, time_us, time_us, True, {}), Record("views", 1, 5, time_us, b""))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_unread_neighbour_keeps_everything_until_it_was_read_from(scene: Scene) -> None:
    assert scene.retention.horizon_us(1) == 0
    scene.progress.read[FLAGS], scene.progress.read_time_us[FLAGS] = 8, 1234
    assert scene.retention.horizon_us(1) == 1234


def test_there_is_no_horizon_when_all_neighbours_are_read_to_their_ends(scene: Scene) -> None:
    scene.progress.read[FLAGS] = 9
    assert scene.retention.horizon_us(1) is None
    # The broker has told of more since.
    scene.progress.read_time_us[VIEWS] = 77
    scene.ends.known[VIEWS] = 6
    assert scene.retention.horizon_us(1) == 77


def test_only_partition_numbers_with_unread_records_have_a_horizon(scene: Scene) -> None:
    scene.progress.read[FLAGS] = 9
    assert scene.retention.horizons([1, 2]) == {2: 0}


def test_windows_are_trimmed_once_the_neighbours_are_read(scene: Scene) -> None:
    scene.hold(("a", 10), ("b", 20), ("a", 30))
    scene.retention.trim()
    assert scene.trimmer.trimmed == []
    scene.progress.read[FLAGS] = 9
    scene.retention.trim()
    assert sorted(scene.trimmer.trimmed) == ["a", "b"]
    scene.retention.trim()
    assert len(scene.trimmer.trimmed) == 2


def test_an_event_at_the_horizon_or_before_keeps_nothing_longer(scene: Scene) -> None:
    scene.progress.read[FLAGS], scene.progress.read_time_us[FLAGS] = 8, 100
    scene.hold(("old", 99), ("edge", 100), ("new", 101))
    scene.progress.read[FLAGS] = 9
    scene.retention.trim()
    assert scene.trimmer.trimmed == ["new"]


def test_trimming_comes_in_pieces(scene: Scene) -> None:
    scene.hold(*((str(number), 1) for number in range(1200)))
    scene.progress.read[FLAGS] = 9
    pieces = []
    for _ in range(4):
        before = len(scene.trimmer.trimmed)
        scene.retention.trim()
        pieces.append(len(scene.trimmer.trimmed) - before)
    assert pieces == [500, 500, 200, 0]


def test_an_outage_of_redis_loses_no_image(scene: Scene) -> None:
    scene.hold(("a", 10))
    scene.progress.read[FLAGS] = 9
    scene.trimmer.away = True
    with pytest.raises(RedisUnavailableError):
        scene.retention.trim()
    scene.trimmer.away = False
    scene.retention.trim()
    assert scene.trimmer.trimmed == ["a"]


def test_images_of_partitions_that_are_gone_are_forgotten(scene: Scene) -> None:
    scene.hold(("a", 10))
    scene.retention.forget()
    scene.progress.read[FLAGS] = 9
    scene.retention.trim()
    assert scene.trimmer.trimmed == []
