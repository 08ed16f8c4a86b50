"""Two replicas over the same partitions as a state machine on a real Redis: deaths and freezes at every call.

Kafka alone is in memory, since its deliveries and rebalances are chosen here. The Lua scripts and the worker are real.
A frozen replica loses its partitions, wakes up later, and writes late.
"""

import itertools
import json
import logging
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final, cast

import pytest
import redis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gourmetgram.events import Event, Record, parse_event, request_uuid
from gourmetgram.kafka.partitions import Partition
from gourmetgram.moments import from_us
from stream_consumer.settings import ConsumerSettings
from tests.support.consumer_group import REQUESTS, MemoryBroker
from tests.support.consumer_replica import Replica
from tests.support.machines import TIMEOUT_S, machine_settings
from tests.support.reference_consumer import (
    COUNTED,
    HOUR,
    PLURAL,
    SECOND,
    WINDOWS,
    RaisedAlert,
    ReferenceConsumer,
    Rule,
)

pytestmark = pytest.mark.servers

START: Final = 1_763_700_000_000_000
IMAGES: Final = [str(uuid.UUID(int=number + 1)) for number in range(3)]
NUMBERS: Final = dict(zip(IMAGES, (0, 0, 1), strict=True))
TOPICS: Final = {kind: PLURAL[kind] for kind in COUNTED}
LIMITS: Final = {
    "VIRAL_THRESHOLD_VIEWS_5MIN": "3",
    "POPULAR_THRESHOLD_VIEWS_1HR": "100",
    "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "2",
    "FLAGGED_THRESHOLD_FLAGS_5MIN": "2",
    "CONSUMER_MAX_BATCH_RECORDS": "4",
    "CONSUMER_MAX_POLL_RECORDS": "4",
}
RULES: Final = [
    Rule("viral", "view", "5min", 3),
    Rule("suspicious", "comment", "1min", 2),
    Rule("flagged", "flag", "5min", 2),
]
LONG_STOP_US: Final = 3 * HOUR
TURNS_TO_READ: Final = 3
"""Turns after which an owner reads, if it can: after a rebalance it first aligns."""

EVERYTHING: Final = dict.fromkeys(TOPICS.values(), 4)

replicas = st.integers(0, 1)
# A turn with a batch passes about ten moments; one that aligns passes more.
moments = st.integers(0, 9) | st.integers(0, 30)
# Before the call that sends a batch, after it, or any moment: only the first makes a late write.
places = st.sampled_from((("send", 0), ("send", 0), ("send", 1))) | st.tuples(st.none(), moments)
amounts = st.fixed_dictionaries({topic: st.integers(0, 4) for topic in TOPICS.values()})


class FenceMachine(RuleBasedStateMachine):
    """Publishers, two replicas and their faults. Subclasses name the settings, the clock and a client.

    Attributes:
        published: event records in the order of their publication.
        outbox: events that are written, and not published yet: the broker is away for the publishers.
        resumed_us: end of the last long stop.
    """

    chosen: ConsumerSettings
    clock: SimpleNamespace
    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushdb()
        self.broker = MemoryBroker(TOPICS.values(), sorted(set(NUMBERS.values())))
        self.broker.now_us = self.resumed_us = START
        self.published: list[Record] = []
        self.outbox: list[tuple[Partition, bytes]] = []
        self.outage = False
        self.number = 0
        self.offsets: dict[Partition, int] = {}
        self.replicas = [self._replica(), self._replica()]

    def _replica(self) -> Replica:
        return Replica(self.broker, self.chosen)

    @initialize()
    def settle(self) -> None:
        """Begin with two replicas that read."""
        for _ in range(4):
            self.turn_all({})

    # --- publishers --------------------------------------------------------------------------------------------------

    @rule(
        kind=st.sampled_from(sorted(TOPICS)),
        image=st.sampled_from(IMAGES),
        number=st.integers(1, 12),
        step=st.sampled_from((0, 1, 20 * SECOND, 61 * SECOND, 10 * 60 * SECOND, 40 * 60 * SECOND)),
        late=st.sampled_from((0, 0, 0, 2 * HOUR)),
    )
    def write(self, kind: str, image: str, number: int, step: int, late: int) -> None:
        """Write some events of one kind on an image; some are backfilled, far older than their record."""
        self.broker.now_us += step
        for _ in range(number):
            self.number += 1
            self.broker.now_us += 1000
            message = {
                "event_type": kind,
                "event_id": str(uuid.UUID(int=self.number << 96)),
                "image_id": image,
                "created_at": from_us(self.broker.now_us - late).isoformat(),
                "actor_eligible": True,
            }
            self.outbox.append((Partition(TOPICS[kind], NUMBERS[image]), json.dumps(message).encode()))
        if not self.outage:
            self._publish()

    @rule()
    def change_outage(self) -> None:
        """From now on, written events wait; or what waits is published, in its order."""
        self.outage = not self.outage
        if not self.outage:
            self._publish()

    def _publish(self) -> None:
        self.published += [self.broker.append(*item) for item in self.outbox]
        self.outbox = []

    @precondition(lambda self: self.published)
    @rule(which=st.integers(0, 50), number=st.integers(1, 5))
    def publish_again(self, which: int, number: int) -> None:
        """Repeat published events at other offsets, as after a crash of the relay."""
        for record in self.published[which % len(self.published) :][:number]:
            self.published.append(self.broker.append(Partition.of(record), cast(bytes, record.value)))

    # --- replicas ----------------------------------------------------------------------------------------------------

    @rule(which=replicas, takes=amounts)
    def turn(self, which: int, takes: dict[str, int]) -> None:
        """One turn of a replica that is not frozen."""
        replica = self.replicas[which]
        if not replica.frozen:
            self._let_take(replica, takes)
            replica.turn()
            # A later turn may hide that an offset went back: the owner reads again, and repeats change nothing.
            self.no_offset_goes_back_and_each_event_below_counts_once()

    @rule(takes=amounts)
    def turn_all(self, takes: dict[str, int]) -> None:
        """A turn of both: rebalances need it."""
        for which in (0, 1):
            self.turn(which, takes)

    @rule(which=replicas, takes=amounts, moment=moments)
    def kill(self, which: int, takes: dict[str, int], moment: int) -> None:
        """A turn in which the process dies, before or after any call that others can see; another one starts."""
        replica = self.replicas[which]
        if replica.frozen:
            return
        self._let_take(replica, takes)
        if replica.die(moment):
            self.broker.rebalance(remove=replica.member)
            self.replicas[which] = self._replica()

    @rule(which=replicas, takes=amounts, moment=moments)
    def freeze(self, which: int, takes: dict[str, int], moment: int) -> None:
        """A turn in which the process freezes, not for long enough to lose its partitions."""
        if not self.replicas[which].frozen:
            self._let_take(self.replicas[which], takes)
            self.replicas[which].freeze(moment)

    @precondition(lambda self: not self.outage)
    @rule(
        kind=st.sampled_from(sorted(TOPICS)),
        image=st.sampled_from(IMAGES),
        place=places,
        turns=st.sampled_from((8, 12)),
    )
    def replace(self, kind: str, image: str, place: tuple[str | None, int], turns: int) -> None:
        """An owner with a backlog freezes, the group gives its partitions away, and the other one goes on."""
        self.write(kind, image, 12, 1, 0)
        partition = Partition(TOPICS[kind], NUMBERS[image])
        which = next((n for n in (0, 1) if partition in self.replicas[n].member.assigned), 0)
        for replica in self.replicas:
            replica.wake()
        call, moment = place
        for _ in range(TURNS_TO_READ):
            if not self.replicas[which].frozen:
                self._let_take(self.replicas[which], EVERYTHING)
                self.replicas[which].freeze(moment, call)
        if self.replicas[which].frozen:
            self.broker.rebalance(remove=self.replicas[which].member)
            for _ in range(turns):
                self.turn(1 - which, EVERYTHING)

    @rule(which=replicas)
    def wake(self, which: int) -> None:
        """A frozen process goes on, and writes late."""
        self.replicas[which].wake()

    @rule(shift=st.integers(0, 1))
    def rebalance(self, shift: int) -> None:
        """A new generation of the group, perhaps with other owners."""
        self.broker.rebalance(shift=shift)

    @rule(stores=st.booleans(), confirms=st.booleans())
    def answer_requests(self, stores: bool, confirms: bool) -> None:
        """Let the broker refuse requests, or store them without an answer, or be well again."""
        self.broker.stores, self.broker.confirms = stores, confirms

    @precondition(lambda self: not self.outage)
    @rule()
    def stop_for_long(self) -> None:
        """No replica runs for three hours, and the keys of all windows expire."""
        for which, replica in enumerate(self.replicas):
            replica.wake()
            replica.close()
            self.broker.rebalance(remove=replica.member)
            self.broker.now_us += LONG_STOP_US
            self.resumed_us = self.broker.now_us
            self.replicas[which] = self._replica()
        for key in self.client.scan_iter("image:*:*:*"):
            if ":alert:" not in key:
                self.client.delete(key)

    def _let_take(self, replica: Replica, takes: dict[str, int]) -> None:
        replica.member.amounts = takes
        self.clock.now += 1.1

    # --- promises ----------------------------------------------------------------------------------------------------

    @invariant()
    def no_offset_goes_back_and_each_event_below_counts_once(self) -> None:
        """Totals are those of the records below the offsets in Redis; the group is never ahead of them."""
        with self.client.pipeline() as pipeline:
            pipeline.hgetall("consumer:offsets")
            for image, plural in itertools.product(IMAGES, PLURAL.values()):
                pipeline.get(f"image:{image}:total_{plural}")
            stored, *totals = pipeline.execute()
        offsets = {partition: int(stored.get(str(partition), 0)) for partition in self._partitions()}
        for partition, offset in offsets.items():
            assert self.offsets.get(partition, 0) <= offset <= len(self.broker.log[partition])
            assert self.broker.committed.get(partition, 0) <= offset
        self.offsets = offsets
        for (image, kind), total in zip(itertools.product(IMAGES, PLURAL), totals, strict=True):
            assert int(total or 0) == len(self._times(image, kind, offsets)), (image, kind)

    @invariant()
    def no_commit_passes_a_request_that_was_not_published(self) -> None:
        """A group that starts from its commits loses no request."""
        sent = {item["request_id"] for item in self._requests()}
        for alert, trigger in self._alerts():
            if trigger.offset < self.broker.committed.get(Partition.of(trigger), 0):
                assert request_uuid(alert.image_id, alert.trigger, alert.event_id) in sent, alert

    def _partitions(self) -> list[Partition]:
        return [partition for partition in self.broker.log if partition != REQUESTS]

    def _times(self, image: str, kind: str, below: dict[Partition, int]) -> dict[str, int]:
        """Event times by id, of the records below offsets."""
        partition = Partition(TOPICS[kind], NUMBERS[image])
        events = (cast(Event, parse_event(record)) for record in self.broker.log[partition][: below[partition]])
        return {event.event_id: event.time_us for event in events if event.image_id == image}

    def _alerts(self) -> Iterator[tuple[RaisedAlert, Record]]:
        """All that the published events raise, with the triggering records."""
        reference = ReferenceConsumer(RULES)
        # An alert depends on the order within its partition only.
        for partition in self._partitions():
            for record in self.broker.log[partition]:
                before = len(reference.alerts)
                reference.apply(cast(Event, parse_event(record)))
                yield from ((alert, record) for alert in reference.alerts[before:])

    def _requests(self) -> list[dict[str, object]]:
        return [json.loads(cast(bytes, record.value)) for record in self.broker.log[REQUESTS]]

    def teardown(self) -> None:
        """Let everything recover; then all is counted, and each request is there with the counts as of its time."""
        try:
            self._recover()
            self.no_offset_goes_back_and_each_event_below_counts_once()
            assert self.offsets == {partition: len(self.broker.log[partition]) for partition in self._partitions()}
            self._check_requests()
            self._check_windows()
        finally:
            for replica in self.replicas:
                replica.wake()
                replica.close()

    def _recover(self) -> None:
        if self.outage:
            self.change_outage()
        self.answer_requests(True, True)
        for replica in self.replicas:
            replica.wake()
            self.no_offset_goes_back_and_each_event_below_counts_once()
        for _ in range(60):
            self.turn_all(EVERYTHING)
            if not self.client.keys("consumer:pending:*") and self._all_committed():
                return
        raise AssertionError("the replicas do not come to an end")

    def _all_committed(self) -> bool:
        return all(self.broker.committed.get(each, 0) == len(self.broker.log[each]) for each in self._partitions())

    def _check_requests(self) -> None:
        contents: dict[object, dict[str, object]] = {}
        for item in self._requests():
            assert contents.setdefault(item["request_id"], item) == item
        raised = {request_uuid(a.image_id, a.trigger, a.event_id): (a, record) for a, record in self._alerts()}
        assert contents.keys() == raised.keys()
        for request_id, (alert, record) in raised.items():
            self._check_context(alert, record, cast(dict[str, object], contents[str(request_id)]["context"]))

    def _check_context(self, alert: RaisedAlert, trigger: Record, context: dict[str, object]) -> None:
        read_to = cast(dict[str, int], context["read_to"])
        number = trigger.partition
        below = {Partition(topic, number): offset for topic, offset in read_to.items()}
        assert below[Partition.of(trigger)] == trigger.offset + 1
        # All that the broker had before the trigger is included.
        for record in itertools.takewhile(lambda record: record is not trigger, self.published):
            assert record.partition != number or record.offset < below[Partition.of(record)], (alert, record)
        wanted = dict(alert.counts)
        for kind, windows in COUNTED.items():
            if TOPICS[kind] == trigger.topic:
                continue
            times = self._times(alert.image_id, kind, below).values()
            for window in windows:
                in_window = [t for t in times if alert.time_us - WINDOWS[window] < t <= alert.time_us]
                wanted[f"{PLURAL[kind]}_{window}"] = len(in_window)
        assert {name: context[name] for name in wanted} == wanted, alert

    def _check_windows(self) -> None:
        for image, kind in itertools.product(IMAGES, PLURAL):
            times = sorted(self._times(image, kind, self.offsets).values())
            if not times or times[-1] < self.resumed_us:
                continue
            newest = times[-1]
            key = f"image:{image}:{PLURAL[kind]}:1hr"
            for width in WINDOWS.values():
                counted = self.client.zcount(key, f"({(newest - width) / SECOND:.6f}", f"{newest / SECOND:.6f}")
                assert counted == sum(newest - width < time for time in times), (image, kind, width)


@pytest.fixture
def machine(
    redis_environment: dict[str, str], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> type[FenceMachine]:
    clock = SimpleNamespace(now=1000.0)
    for module in ("worker", "commits", "requests"):
        monkeypatch.setattr(f"stream_consumer.{module}.time", SimpleNamespace(monotonic=lambda: clock.now))
    # Each example would log its outages.
    monkeypatch.setattr(logging.getLogger("stream_consumer"), "level", logging.ERROR)

    class Machine(FenceMachine):
        pass

    Machine.chosen = ConsumerSettings.load({**redis_environment, **LIMITS})
    Machine.clock, Machine.client = clock, redis_client
    return Machine


@pytest.mark.timeout(TIMEOUT_S)
def test_no_order_of_faults_counts_an_event_twice_or_loses_one(machine: type[FenceMachine]) -> None:
    run_state_machine_as_test(machine, settings=machine_settings(examples=40, steps=40))


@pytest.mark.parametrize("place", [("send", 0), ("send", 1), *((None, moment) for moment in range(14))])
def test_no_late_write_of_a_fenced_owner_takes_effect(
    machine: type[FenceMachine], place: tuple[str | None, int]
) -> None:
    """Its batch is applied by the new owner, and more; then it wakes up and sends it."""
    state = machine()
    state.settle()
    state.replace("view", IMAGES[0], place, 12)
    for which in (0, 1):
        state.wake(which)
        state.no_offset_goes_back_and_each_event_below_counts_once()
    state.teardown()
