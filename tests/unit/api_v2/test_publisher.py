"""The relay's publisher when its producer fails: replaced, and no topic waits for another's."""

import asyncio
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from api_v2.publisher import OutboxEvent, OutboxPublisher
from api_v2.relay import Relay, Resting
from api_v2.settings import ApiV2Settings
from gourmetgram.database.pool import Database
from gourmetgram.settings import KafkaSettings
from tests.support.waiting import wait_until_async

ROWS = [OutboxEvent(number, topic, "key", b"{}") for number, topic in enumerate(["ok", "gone", "ok", "gone", "ok"])]


class FakeProducer:
    """Confirms everything at the next poll, but for topics that fail."""

    def __init__(self, failing: dict[str, Exception]) -> None:
        self.failing = failing
        self.unknown: set[str] = set()
        self.sent: list[str] = []
        self._answers: list[Callable[[], None]] = []

    def produce(self, topic: str, key: str, value: bytes, on_delivery: Callable[..., None]) -> None:
        if topic in self.failing:
            raise self.failing[topic]
        self.sent.append(topic)
        self._answers.append(lambda: on_delivery(None, None))

    def poll(self, _timeout_s: float) -> None:
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()

    def purge(self, **_how: bool) -> None:
        self._answers.clear()

    def list_topics(self, topic: str, timeout: float) -> Any:
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART) if topic in self.unknown else None
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error)})


class Factory:
    """Creates producers for a publisher; only the first one fails, for ever."""

    def __init__(self) -> None:
        self.made: list[FakeProducer] = []
        self.configs: list[dict[str, Any]] = []

    def __call__(self, _settings: KafkaSettings, _client_id: str, **config: Any) -> Any:
        failing: dict[str, Exception] = {"gone": KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))}
        self.made.append(FakeProducer({} if self.made else failing))
        self.configs.append(config)
        return self.made[-1]

    def lose_brokers(self) -> None:
        """Let the newest producer report, three times, that it knows no broker."""
        for _ in range(3):
            self.configs[-1]["stats_cb"](json.dumps({"brokers": {}}))


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
def publisher(factory: Factory) -> OutboxPublisher:
    return OutboxPublisher(KafkaSettings(), factory)


def test_a_producer_that_refuses_a_topic_sends_the_others_and_is_replaced(
    publisher: OutboxPublisher, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    assert publisher.publish(ROWS, threading.Event()) == [row for row in ROWS if row.topic == "ok"]
    assert publisher.failed == {"gone"}
    assert caplog.text.count("refuses events of topic gone") == 1
    assert publisher.publish(ROWS[1::2], threading.Event()) == ROWS[1::2]
    assert publisher.failed == frozenset()
    assert [producer.sent for producer in factory.made] == [["ok", "ok", "ok"], ["gone", "gone"]]


def test_a_producer_with_any_other_fault_is_replaced(publisher: OutboxPublisher, factory: Factory) -> None:
    publisher.broker_answers()
    factory.made[0].failing["ok"] = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        publisher.publish(ROWS, threading.Event())
    assert publisher.publish(ROWS, threading.Event()) == ROWS
    assert len(factory.made) == 2


def test_a_topic_that_goes_and_comes_back_is_named_and_gets_a_new_producer_each_time(
    publisher: OutboxPublisher, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    views = KafkaSettings().kafka_topic_views
    assert publisher.broker_answers()
    factory.made[0].unknown = {views}
    assert publisher.broker_answers()
    assert publisher.missing == {views}
    assert f"Topic {views} does not exist; its events wait in the outbox" in caplog.text
    assert publisher.broker_answers()
    assert publisher.missing == frozenset()
    assert f"Topic {views} exists again" in caplog.text
    assert publisher.broker_answers()
    assert len(factory.made) == 3


def test_a_producer_without_brokers_is_replaced_and_watched_anew(publisher: OutboxPublisher, factory: Factory) -> None:
    assert publisher.broker_answers()
    factory.lose_brokers()
    assert not publisher.broker_answers()
    assert publisher.broker_answers()
    assert len(factory.made) == 2


def test_messages_of_the_outbox_never_time_out(publisher: OutboxPublisher, factory: Factory) -> None:
    publisher.broker_answers()
    assert factory.configs[0]["message.timeout.ms"] == 0


def test_a_topic_rests_longer_after_each_failure_and_not_at_all_after_a_success() -> None:
    resting = Resting()
    assert not resting
    clock, pauses = 0.0, []
    for _ in range(9):
        resting.tried({"a", "b"}, {"a"}, clock)
        pauses.append(next(s for s in range(1, 100) if "a" not in resting.topics(clock + s)))
        clock += pauses[-1]
        assert "b" not in resting.topics(clock)
    assert pauses == sorted(pauses)
    assert pauses[-1] == Resting.LONGEST_S
    resting.tried({"b"}, set(), clock)
    assert resting
    resting.tried({"a"}, set(), clock)
    assert not resting


async def test_health_goes_on_telling_the_truth_after_a_fault_of_the_look_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ApiV2Settings.load({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/nothing", "AWS_ACCESS_KEY_ID": "a"})
    monkeypatch.setattr("api_v2.relay.MONITOR_S", 0.01)
    relay = Relay(Database(settings, "test"), settings)
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise RuntimeError("a statistics callback failed")
        return True

    monkeypatch.setattr(relay._publisher, "broker_answers", look)
    monkeypatch.setattr(relay, "_count_pending", lambda: asyncio.sleep(0))
    task = asyncio.create_task(relay._monitor())

    async def again() -> bool:
        return looks > 3 and relay.connected()

    await wait_until_async(again, what="a look after the fault")
    task.cancel()
    relay._failing = True
    assert relay.health()["status"] == "degraded"
    assert relay.health()["kafka_enabled"] is False
