"""Identity of topics: an id, none where the broker has no ids, and nothing for a missing topic."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from gourmetgram.errors import TransientError
from gourmetgram.kafka.metadata import topic_exists, topic_ids

ZEROS = "AAAAAAAAAAAAAAAAAAAAAA"


class FakeAdmin:
    """Describes topics: by an id, or by an error code."""

    def __init__(self, topics: dict[str, str | int]) -> None:
        self.topics = topics

    def describe_topics(self, asked: TopicCollection, request_timeout: float) -> dict[str, Future[Any]]:
        answers: dict[str, Future[Any]] = {topic: Future() for topic in self.topics}
        for topic, answer in answers.items():
            known = self.topics[topic]
            if isinstance(known, int):
                answer.set_exception(KafkaException(KafkaError(known)))
            else:
                answer.set_result(SimpleNamespace(topic_id=known))
        return answers


def ids(topics: dict[str, str | int]) -> dict[str, str | None]:
    admin: Any = FakeAdmin(topics)
    return topic_ids(admin, topics, 1.0)


def test_a_topic_has_the_brokers_id_none_without_ids_and_is_absent_when_missing() -> None:
    found = ids({"views": "id-1", "flags": ZEROS, "gone": KafkaError.UNKNOWN_TOPIC_OR_PART})
    assert found == {"views": "id-1", "flags": None}


def test_a_broker_that_cannot_describe_topics_has_no_ids() -> None:
    assert ids({"views": KafkaError._UNSUPPORTED_FEATURE}) == {"views": None}


def test_a_broker_that_does_not_answer_is_away() -> None:
    with pytest.raises(TransientError, match="did not describe its topics"):
        ids({"views": "id-1", "flags": KafkaError._TRANSPORT})


EXISTENCE = {None: True, KafkaError.LEADER_NOT_AVAILABLE: True, KafkaError.UNKNOWN_TOPIC_OR_PART: False}


@pytest.mark.parametrize(("code", "exists"), EXISTENCE.items())
def test_only_an_unknown_topic_is_missing(code: int | None, exists: bool) -> None:
    error = None if code is None else KafkaError(code)
    client: Any = SimpleNamespace(
        list_topics=lambda topic, timeout: SimpleNamespace(topics={topic: SimpleNamespace(error=error)})
    )
    assert topic_exists(client, "views", 1.0) is exists
