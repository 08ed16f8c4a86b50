"""Existence and identity of topics."""

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from gourmetgram.errors import TransientError

_NO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""Sixteen zero bytes: the answer of a broker without topic ids."""

_UNKNOWN: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)


def topic_exists(client: Producer | Consumer, topic: str, timeout_s: float) -> bool:
    """True if the topic exists on the broker.

    Raises:
        KafkaException: the broker does not answer.
    """
    error = client.list_topics(topic, timeout=timeout_s).topics[topic].error
    return error is None or error.code() not in _UNKNOWN


def topic_ids(admin: AdminClient, topics: Iterable[str], timeout_s: float) -> dict[str, str | None]:
    """The broker's id of each topic that exists; None where the broker has no such ids.

    A topic that is deleted and created again gets another id.

    Raises:
        TransientError: the broker did not answer.
    """
    ids: dict[str, str | None] = {}
    answers = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s)
    for topic, answer in answers.items():
        try:
            topic_id = str(answer.result(timeout_s + 0.5).topic_id)
        except (KafkaException, TimeoutError) as error:
            code = error.args[0].code() if isinstance(error, KafkaException) else None
            if code == KafkaError._UNSUPPORTED_FEATURE:
                ids[topic] = None
            elif code not in _UNKNOWN:
                raise TransientError(f"the broker did not describe its topics: {error}") from error
        else:
            ids[topic] = None if topic_id == _NO_TOPIC_ID else topic_id
    return ids
