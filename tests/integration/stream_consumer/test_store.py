"""A batch does what its events would do one by one: the real Lua on a real Redis against a plain reference."""

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping

import orjson
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from gourmetgram.clients.redis import WORKER, connect
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.events import Event, EventKind, Record
from gourmetgram.kafka.partitions import Partition
from gourmetgram.moments import unix_text
from stream_consumer.batch import BatchSpan, EligibleEvent, EventBatch, build_call
from stream_consumer.continuity import LastRecord
from stream_consumer.settings import ConsumerSettings
from stream_consumer.store.batches import AppliedBatch, BatchStore
from stream_consumer.store.requests import RequestStore
from stream_consumer.store.scripts import vocabulary
from tests.support.reference_consumer import HOUR, PLURAL, SECOND, ReferenceConsumer, Rule

pytestmark = pytest.mark.servers

# Kind, number of the image, microseconds since the event before, microseconds until it is handled.
Draft = list[tuple[EventKind, int, int, int]]

START = 1_763_700_000_000_000
PARTITION = Partition("events", 0)
IMAGES = [str(uuid.UUID(int=number + 1)) for number in range(2)]
LIMITS = {
    "VIRAL_THRESHOLD_VIEWS_5MIN": "3",
    "POPULAR_THRESHOLD_VIEWS_1HR": "4",
    "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "2",
    "FLAGGED_THRESHOLD_FLAGS_5MIN": "2",
}
RULES = [
    Rule("viral", "view", "5min", 3),
    Rule("popular", "view", "1hr", 4),
    Rule("suspicious", "comment", "1min", 2),
    Rule("flagged", "flag", "5min", 2),
]

# Steps at and around the edges of the windows, the cool-down and what counts as history; many events at one moment.
steps = st.sampled_from([0, 0, 0, 1, 20 * SECOND, -1, -SECOND, -1000 * SECOND, -HOUR]) | st.builds(
    lambda edge, beside: edge * SECOND + beside, st.sampled_from([60, 300, 3600]), st.sampled_from([-1, 0, 1])
)
delays = st.sampled_from([0, 0, 0, 0, HOUR, HOUR + 1])
drafts = st.lists(
    st.tuples(st.sampled_from(["view", "comment", "flag"]), st.integers(0, 1), steps, delays), min_size=1, max_size=50
) | st.lists(
    # One image and kind: what one by one is rare among many happens often here.
    st.tuples(st.just("view"), st.just(0), steps, delays),
    min_size=4,
    max_size=50,
)


def build(draft: Draft) -> list[Event]:
    times = itertools.accumulate((step for _, _, step, _ in draft), initial=START)
    next(times)
    return [
        Event(kind, str(uuid.UUID(int=number << 96)), IMAGES[image], time, time + delay, True, {})
        for number, ((kind, image, _, delay), time) in enumerate(zip(draft, times, strict=True), 1)
    ]


@pytest.fixture(scope="module")
def store(redis_environment: dict[str, str]) -> Iterator[tuple[BatchStore, redis.Redis]]:
    chosen = ConsumerSettings.load({**redis_environment, **LIMITS})
    client = connect(chosen, WORKER)
    yield BatchStore(client, vocabulary(chosen, chosen.consumer_dedup_hours)), client
    client.close()


def eligible(events: Iterable[Event], first: int = 0) -> EventBatch:
    """A batch of events at the offsets from `first` on."""
    items = [EligibleEvent(event, Record(*PARTITION, offset, 0, None)) for offset, event in enumerate(events, first)]
    last = Record(*PARTITION, first + len(items) - 1, 0, None)
    return EventBatch(items, spans={PARTITION: BatchSpan(first, last.offset + 1, 0, str(LastRecord.of(last)))})


def apply(
    store: BatchStore, batch: EventBatch, positions: tuple[int, int], horizons: Mapping[int, int] | None = None
) -> AppliedBatch | None:
    """Apply a batch at an offset (before, after)."""
    store.send(build_call(batch, {PARTITION: positions}, horizons or {}))
    return store.receive()


def apply_in_batches(
    store: BatchStore, client: redis.Redis, events: list[Event], sizes: list[int]
) -> list[AppliedBatch]:
    """Apply the events, cut by sizes (the last one goes on and on)."""
    client.flushdb()
    client.hset("consumer:offsets", "events/0", 0)
    answers, first = [], 0
    cuts = itertools.chain(sizes, itertools.repeat(sizes[-1]))
    while first < len(events):
        last = min(first + next(cuts), len(events))
        answer = apply(store, eligible(events[first:last], first), (first, last))
        assert answer is not None
        answers.append(answer)
        first = last
    return answers


def state_of(client: redis.Redis) -> dict[bytes, object]:
    """Everything that decides what happens next."""
    hours = {key: client.zrange(key, 0, -1, withscores=True) for key in client.scan_iter("image:*:1hr")}
    texts = {key: client.get(key) for pattern in ("*:total_*", "*:alert:*") for key in client.scan_iter(pattern)}
    hashes = {key: client.hgetall(key) for key in client.scan_iter("consumer:pending:*")}
    return {**hours, **texts, **hashes, b"reached": client.hgetall("consumer:milestones")}


@settings(max_examples=300)
@given(draft=drafts, sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_batches_of_any_size_do_what_single_events_would_do(
    store: tuple[BatchStore, redis.Redis], draft: Draft, sizes: list[int]
) -> None:
    windows, client = store
    events = build(draft)
    reference = ReferenceConsumer(RULES)
    for event in events:
        reference.apply(event)

    answers = apply_in_batches(windows, client, events, sizes)

    raised = {
        (alert.image_id, alert.trigger, alert.event_id, alert.time_us, alert.count)
        for answer in answers
        for alert in answer.alerts
    }
    assert raised == {
        (alert.image_id, alert.trigger, alert.event_id, alert.time_us, alert.count) for alert in reference.alerts
    }
    stored = [orjson.loads(value) for value in client.hvals("consumer:pending:0")]
    assert {(item["event_id"], item["trigger"], tuple(sorted(item["counts"].items()))) for item in stored} == {
        (alert.event_id, alert.trigger, alert.counts) for alert in reference.alerts if alert.trigger != "popular"
    }
    assert {(m.image_id, m.value) for answer in answers for m in answer.milestones} == {
        (image, value) for image, value, _ in reference.reached
    }
    for (image, kind), times in reference.times.items():
        assert client.get(f"image:{image}:total_{PLURAL[kind]}") == str(len(times)).encode()
        kept = set(client.zrange(f"image:{image}:{PLURAL[kind]}:1hr", 0, -1))
        assert kept >= {
            f"{kind}:{unix_text(time)}:{event_id[:8]}".encode()
            for time, event_id in reference.in_last_hour(image, kind)
        }
    for alert in reference.alerts:
        name = f"image:{alert.image_id}:alert:{alert.trigger}"
        assert client.get(name) == unix_text(reference.last_alert[alert.image_id, alert.trigger]).encode()


@settings(max_examples=60)
@given(draft=drafts)
def test_without_requests_one_batch_leaves_the_same_keys_as_single_events(
    store: tuple[BatchStore, redis.Redis], draft: Draft
) -> None:
    windows, client = store
    # One kind per image: what one kind's requests hold back of another kind's windows depends on who comes first.
    events = [event for event in build(draft) if event.kind == "view"]
    if not events:
        return
    apply_in_batches(windows, client, events, [1])
    one_by_one = state_of(client)
    apply_in_batches(windows, client, events, [len(events)])
    assert state_of(client) == one_by_one


@settings(max_examples=40)
@given(draft=drafts, again=st.lists(st.integers(0, 59), max_size=30))
def test_copies_of_events_at_later_offsets_change_nothing(
    store: tuple[BatchStore, redis.Redis], draft: Draft, again: list[int]
) -> None:
    windows, client = store
    events = build(draft)
    apply_in_batches(windows, client, events, [7])
    before = state_of(client)
    copies = [events[number % len(events)] for number in dict.fromkeys(number % len(events) for number in again)]
    answer = apply(windows, eligible(copies, len(events)), (len(events), len(events) + len(copies)))
    assert answer is not None
    assert answer.repeated == len(copies)
    assert state_of(client) == before


@pytest.mark.parametrize("sizes", [[1], [2, 2], [4]])
@pytest.mark.parametrize(("beside", "alerts"), [(-1, 1), (0, 2)])
def test_the_cool_down_ends_exactly_an_hour_later(
    store: tuple[BatchStore, redis.Redis], sizes: list[int], beside: int, alerts: int
) -> None:
    windows, client = store
    events = build([("flag", 0, 1, 0), ("flag", 0, 0, 0), ("flag", 0, HOUR + beside, 0), ("flag", 0, 0, 0)])
    answers = apply_in_batches(windows, client, events, sizes)
    assert sum(len(answer.alerts) for answer in answers) == alerts


@pytest.mark.parametrize("sizes", [[1], [2]])
@pytest.mark.parametrize(("apart", "alerts"), [(300 * SECOND - 1, 1), (300 * SECOND, 0)])
def test_a_window_leaves_out_what_is_exactly_as_old_as_it_is_long(
    store: tuple[BatchStore, redis.Redis], sizes: list[int], apart: int, alerts: int
) -> None:
    windows, client = store
    answers = apply_in_batches(windows, client, build([("flag", 0, 1, 0), ("flag", 0, apart, 0)]), sizes)
    assert sum(len(answer.alerts) for answer in answers) == alerts


def test_a_batch_that_starts_elsewhere_changes_nothing(store: tuple[BatchStore, redis.Redis]) -> None:
    windows, client = store
    events = build([("view", 0, 1, 0)] * 5)
    apply_in_batches(windows, client, events, [5])
    before = state_of(client)
    late = eligible(build([("view", 1, 7, 0)] * 3))
    for positions in ((0, 3), (6, 9)):
        assert apply(windows, late, positions) is None
    assert state_of(client) == before
    assert client.hget("consumer:offsets", "events/0") == b"5"


def test_a_batch_larger_than_luas_stack_is_applied_whole(store: tuple[BatchStore, redis.Redis]) -> None:
    windows, client = store
    events = build([("view", 0, 1000, 0)] * 12_000)
    answers = apply_in_batches(windows, client, events, [12_000])
    assert answers[0].totals == [12_000]
    assert client.zcard(f"image:{IMAGES[0]}:views:1hr") == 12_000
    assert [alert.trigger for alert in answers[0].alerts] == ["viral", "popular"]


def test_what_waits_in_the_broker_holds_windows_back_until_it_is_read(store: tuple[BatchStore, redis.Redis]) -> None:
    windows, client = store
    client.flushdb()
    client.hset("consumer:offsets", "events/0", 0)
    events = build([("view", 0, 1, 0), ("view", 0, 2 * HOUR, 0)])
    apply(windows, eligible(events), (0, 2), {0: START})
    assert client.zcard(f"image:{IMAGES[0]}:views:1hr") == 2
    windows.trim([IMAGES[0]])
    assert client.zcard(f"image:{IMAGES[0]}:views:1hr") == 1


def test_fixing_a_context_keeps_what_unread_records_may_need(store: tuple[BatchStore, redis.Redis]) -> None:
    windows, client = store
    client.flushdb()
    client.hset("consumer:offsets", "events/0", 0)
    events = build([("flag", 0, 1, 0), ("flag", 0, 2 * HOUR, 0), ("flag", 0, 0, 0)])
    answer = apply(windows, eligible(events), (0, 3), {0: START})
    assert answer is not None
    (request,) = answer.alerts
    chosen = ConsumerSettings.load(LIMITS)
    requests = RequestStore(RedisServers([client]), vocabulary(chosen, chosen.consumer_dedup_hours))
    (fixed,) = requests.freeze([request], {0: [PARTITION]})
    assert fixed.context is not None
    assert client.zcard(f"image:{IMAGES[0]}:flags:1hr") == 3
    windows.trim([IMAGES[0]])
    assert client.zcard(f"image:{IMAGES[0]}:flags:1hr") == 2


def test_a_key_of_a_wrong_type_spoils_its_own_image_only(store: tuple[BatchStore, redis.Redis]) -> None:
    windows, client = store
    events = build([("view", 0, 1, 0), ("view", 1, 1, 0)])
    client.flushdb()
    client.hset("consumer:offsets", "events/0", 0)
    client.set(f"image:{IMAGES[0]}:views:1hr", "somebody's experiment")
    answer = apply(windows, eligible(events), (0, 2))
    assert answer is not None
    assert [image for image, _ in answer.failures] == [IMAGES[0]]
    assert client.get(f"image:{IMAGES[1]}:total_views") == b"1"
    assert client.hget("consumer:offsets", "events/0") == b"2"


def test_the_script_is_loaded_again_after_redis_forgot_it(store: tuple[BatchStore, redis.Redis]) -> None:
    windows, client = store
    events = build([("view", 0, 1, 0)] * 2)
    client.script_flush()
    answers = apply_in_batches(windows, client, events, [1])
    assert [answer.totals for answer in answers] == [[1], [2]]
