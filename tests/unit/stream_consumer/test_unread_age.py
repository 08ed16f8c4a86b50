"""Age of the oldest unread event."""

from gourmetgram.kafka.status import PartitionStatus
from stream_consumer.progress import StreamProgress
from stream_consumer.unread_age import UnreadAge
from tests.support.consumer_records import START_US, VIEWS

SECOND = 1_000_000


class Scene:
    """One partition. Its event 5 is applied; it was stored at START_US."""

    def __init__(self) -> None:
        self.now_us = START_US
        self.progress = StreamProgress()
        self.progress.restart({VIEWS: 5}, {VIEWS: 5})
        self.age = UnreadAge(self.progress, lambda: self.now_us)

    def seconds_at(self, seconds: int, high: int) -> float:
        self.now_us = START_US + seconds * SECOND
        self.age.look({VIEWS: PartitionStatus(0, high, None)})
        return self.age.seconds()


def test_nothing_unread_has_no_age() -> None:
    assert Scene().seconds_at(100, high=5) == 0


def test_after_a_long_silence_a_new_event_is_young() -> None:
    scene = Scene()
    scene.progress.broker_time_us = {VIEWS: START_US}
    scene.seconds_at(3600, high=5)
    assert scene.seconds_at(3601, high=6) == 1


def test_the_age_grows_while_nothing_is_applied_even_if_the_loop_is_stuck() -> None:
    scene = Scene()
    scene.progress.broker_time_us = {VIEWS: START_US}
    assert scene.seconds_at(10, high=9) == 10
    scene.now_us += 60 * SECOND
    assert scene.age.seconds() == 70


def test_a_backlog_at_the_start_is_as_old_as_its_first_record() -> None:
    scene = Scene()
    scene.progress.unread_since_us = {VIEWS: START_US - 7200 * SECOND}
    assert scene.seconds_at(0, high=9) == 7200
    scene.progress.broker_time_us = {VIEWS: START_US - 60 * SECOND}
    assert scene.seconds_at(0, high=9) == 60


def test_an_unread_event_of_an_unknown_time_ages_from_when_it_was_noticed() -> None:
    scene = Scene()
    assert scene.seconds_at(10, high=6) == 0
    assert scene.seconds_at(40, high=6) == 30
