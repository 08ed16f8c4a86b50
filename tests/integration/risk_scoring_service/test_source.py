"""The scorer's side of Kafka: whatever happens around an assignment, what is assigned is read in the end."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.offsets import committed_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.settings import KafkaSettings
from risk_scoring_service.source import RequestSource
from tests.support.scoring import Requests, make_request
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

PARTITIONS = 4


class Member:
    """A source in its group, and what it has been given since it last lost its partitions."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self.source = RequestSource(settings, group)
        self.lost = False
        self.offsets: set[tuple[int, int]] = set()
        self.source.subscribe(self._on_lost)

    def look(self) -> None:
        self.offsets |= {(record.partition, record.offset) for record in self.source.poll(100, 0.01)}

    def has(self, number: int) -> bool:
        self.look()
        return len(self.offsets) >= number

    def has_lost_all(self) -> bool:
        self.look()
        return self.lost

    def _on_lost(self, _partitions: Iterable[Partition]) -> None:
        self.lost = True
        self.offsets.clear()


@pytest.fixture
def member(requests: Requests) -> Iterator[Member]:
    member = Member(requests.settings, requests.group)
    with closing(member.source):
        yield member


def send_40(requests: Requests) -> None:
    """Requests for so many images that each partition has some."""
    requests.send(*(make_request(f"image {number}") for number in range(40)))


@contextmanager
def another_member_joins(requests: Requests, member: Member) -> Iterator[None]:
    """Begins when it has cost the member all its partitions; in the end it leaves the group."""
    consumer = create_consumer(requests.settings, "tests", requests.group)
    consumer.subscribe([requests.settings.moderation_topic])
    with closing(consumer):
        wait_until(lambda: (consumer.poll(0.01), member.has_lost_all())[1], what="the loss of the partitions")
        yield


def test_partitions_that_go_during_a_pause_are_read_when_they_come_back_after_it(
    requests: Requests, member: Member
) -> None:
    send_40(requests)
    wait_until(lambda: member.has(40), what="the first reading")
    assert {partition for partition, _ in member.offsets} == set(range(PARTITIONS))
    member.source.pause(True)
    member.look()
    with another_member_joins(requests, member):
        # None is assigned at this moment, so none can be told now that the pause is over.
        member.source.pause(False)
    send_40(requests)
    # Nothing was committed: what was read before the loss is read again.
    wait_until(lambda: member.has(80), what="the reading after the pause")


def test_partitions_are_read_although_the_broker_did_not_tell_at_once_from_where(
    requests: Requests, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [TransientError("Not coordinator")] * 3

    def committed(*arguments: Any) -> dict[Partition, int | None]:
        if failures:
            raise failures.pop()
        return committed_offsets(*arguments)

    monkeypatch.setattr("risk_scoring_service.source.committed_offsets", committed)
    send_40(requests)
    wait_until(lambda: member.has(40))
    assert not failures


def test_reading_goes_on_where_the_group_has_committed(requests: Requests, member: Member) -> None:
    send_40(requests)
    wait_until(lambda: member.has(40))
    member.source.commit({Partition(requests.settings.moderation_topic, number): 3 for number in range(PARTITIONS)})
    with another_member_joins(requests, member):
        pass
    wait_until(lambda: member.has(40 - 3 * PARTITIONS))
    assert min(offset for _, offset in member.offsets) == 3
    assert len(member.offsets) == 40 - 3 * PARTITIONS
