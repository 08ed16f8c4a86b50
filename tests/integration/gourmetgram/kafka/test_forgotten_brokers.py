"""Kafka clients that will never find a broker again: replaced in the API and for dead letters, else a new process."""

import subprocess
import sys
import threading
import uuid

import pytest
from confluent_kafka import Producer

from api_v2.publisher import OutboxEvent, OutboxPublisher
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.status import BrokerWatch
from gourmetgram.settings import KafkaSettings, process_environment
from tests.support.api import read_topic
from tests.support.consumer_platform import ConsumerPlatform, free_port
from tests.support.scoring import Requests, running_scorer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

WITH_LOST_BROKERS = """
import sys
from importlib import import_module
from gourmetgram.kafka.status import BrokerWatch
BrokerWatch.lost = property(lambda watch: True)
sys.exit(import_module(sys.argv[1]).main())
"""
"""Runs a service whose clients have lost their brokers."""


class FirstOneBroken:
    """Creates producers, of which the first finds no broker."""

    def __init__(self) -> None:
        self.made: list[Producer] = []

    def __call__(self, settings: KafkaSettings, client_id: str, **overrides: object) -> Producer:
        address = {"bootstrap.servers": f"127.0.0.1:{free_port()}"} if not self.made else {}
        self.made.append(create_producer(settings, client_id, **{**overrides, **address}))
        return self.made[-1]


def ending(module: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITH_LOST_BROKERS, module],
        env={**process_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_scorers_process_ends_so_that_a_new_one_takes_over(scorer_environment: dict[str, str]) -> None:
    ended = ending("risk_scoring_service.main", scorer_environment)
    assert ended.returncode == 1
    assert "forgotten all its brokers" in ended.stderr + ended.stdout


def test_the_stream_consumers_process_ends_so_that_a_new_one_takes_over(platform: ConsumerPlatform) -> None:
    ended = ending("stream_consumer.main", platform.environment)
    assert ended.returncode == 1
    output = ended.stderr + ended.stdout
    assert "The stream consumer cannot go on: the Kafka client has forgotten all its brokers" in output


def test_the_relay_takes_a_new_producer_and_publishes_again_what_the_old_one_held(
    api_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = FirstOneBroken()
    made = create.made
    settings = KafkaSettings.load(api_environment)
    publisher, key = OutboxPublisher(settings, create), str(uuid.uuid4())
    row = OutboxEvent(1, settings.kafka_topic_views, key, b"{}")
    answers: list[list[OutboxEvent]] = []
    publishing = threading.Thread(
        target=lambda: answers.append(publisher.publish([row], threading.Event())), daemon=True
    )
    publishing.start()
    wait_until(lambda: made)
    assert not publisher.broker_answers()
    # A broker that is merely away is waited for, however long it takes.
    assert publishing.is_alive()
    monkeypatch.setattr(BrokerWatch, "lost", property(lambda _watch: len(made) == 1))
    assert not publisher.broker_answers()
    publishing.join(10)
    assert answers == [[]]
    assert publisher.publish([row], threading.Event()) == [row]
    assert publisher.broker_answers()
    publisher.close()
    assert len(made) == 2
    messages = read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic_views)
    assert [found for found, _ in messages].count(key) == 1


def test_a_dead_letter_that_could_not_be_published_goes_out_by_a_new_producer(
    scorer_environment: dict[str, str], requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = FirstOneBroken()
    monkeypatch.setattr("risk_scoring_service.service.create_producer", create)
    with running_scorer(scorer_environment), requests.dead_letters() as dead:
        requests.send(b"{")
        wait_until(lambda: dead.at_least(1), 30)
        wait_until(lambda: requests.committed() == 1)
    assert len(create.made) > 1
