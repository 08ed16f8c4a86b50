"""Positions of this process: what follows, what is read, what is applied."""

import logging

import pytest

from gourmetgram.kafka.partitions import Partition
from stream_consumer.batch import BatchSpan
from stream_consumer.progress import StreamProgress

VIEWS, FLAGS, OTHER = Partition("views", 1), Partition("flags", 1), Partition("views", 2)


@pytest.fixture
def progress() -> StreamProgress:
    found = StreamProgress()
    found.restart({VIEWS: 5, FLAGS: 7, OTHER: 0}, {VIEWS: 5, FLAGS: 9, OTHER: 100})
    return found


def test_co_partitions_have_the_same_number(progress: StreamProgress) -> None:
    assert progress.co_partitions(1) == [VIEWS, FLAGS]


def test_a_batch_follows_where_reading_stands(progress: StreamProgress) -> None:
    assert progress.follows({VIEWS: BatchSpan(5, 8, 1)})
    assert not progress.follows({VIEWS: BatchSpan(4, 8, 1)})
    assert not progress.follows({Partition("views", 3): BatchSpan(0, 8, 1)})


def test_a_gap_is_accepted_aloud(progress: StreamProgress, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert progress.follows({VIEWS: BatchSpan(7, 8, 1)})
    assert "views/1: offsets 5 to 6 were not delivered" in caplog.text


def test_reading_runs_ahead_of_applying(progress: StreamProgress) -> None:
    spans = {VIEWS: BatchSpan(5, 8, 1234)}
    assert progress.read_on(spans) == {VIEWS: (5, 8)}
    assert (progress.read[VIEWS], progress.read_time_us[VIEWS]) == (8, 1234)
    assert (progress.applied[VIEWS], progress.broker_time_us) == (5, {})
    progress.apply_on(spans)
    assert (progress.applied[VIEWS], progress.broker_time_us) == (8, {VIEWS: 1234})
