"""The six topics: created when missing, their settings corrected when they differ. Safe to run at any time.

The one-shot container runs `python -m gourmetgram.topics`.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tenacity import retry, retry_if_exception, retry_if_exception_type, stop_after_delay, wait_fixed

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.kafka.clients import client_config
from gourmetgram.observability import configure_logging
from gourmetgram.settings import KafkaSettings, LogSettings

log = logging.getLogger(__name__)

PARTITIONS: Final = 4
CONFIG: Final = {
    "retention.ms": "2592000000",  # 30 days
    "segment.ms": "3600000",  # 1 hour
    "message.timestamp.type": "LogAppendTime",  # broker time: late events are defined by it
}
_TIMEOUT_S = 30.0


def ensure_topics(
    settings: KafkaSettings, names: Iterable[str] | None = None, partitions: int = PARTITIONS
) -> tuple[str, ...]:
    """Create missing topics and correct the settings of existing ones.

    Args:
        settings: address of the broker.
        names: topics to create or correct; the platform's six when None.
        partitions: number of partitions of each topic.

    Returns:
        The names, sorted.

    Raises:
        TransientError: the broker is away or did not answer in time.
        PermanentError: a topic has more than `partitions` partitions; Kafka cannot remove partitions.
    """
    wanted = sorted(settings.all_topics if names is None else names)
    try:
        # Closed explicitly: a client that the garbage collector closes logs errors when the broker stops first.
        with AdminClient(client_config(settings, "gourmetgram-topics")) as admin:
            _create_missing(admin, wanted, partitions)
            _correct(admin, wanted, partitions)
        _wait_for_leaders(settings, wanted, partitions)
    except KafkaException as error:
        raise TransientError(f"the topics could not be created or checked: {error}") from error
    return tuple(wanted)


def _create_missing(admin: AdminClient, names: list[str], partitions: int) -> None:
    existing = _partition_counts(admin, names)
    missing = [name for name in names if name not in existing]
    if not missing:
        return
    new = [NewTopic(name, num_partitions=partitions, replication_factor=1, config=CONFIG) for name in missing]
    for name, answer in admin.create_topics(new, request_timeout=_TIMEOUT_S).items():
        try:
            answer.result()
        except KafkaException as error:
            # Another process created it between the two requests.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            log.info("Created topic %s", name)


# The broker confirms new partitions before it serves them: without this probe the first client would get one of many
# errors.
@retry(
    retry=retry_if_exception_type(KafkaException),
    wait=wait_fixed(0.05),
    stop=stop_after_delay(_TIMEOUT_S),
    reraise=True,
)
def _wait_for_leaders(settings: KafkaSettings, names: list[str], partitions: int) -> None:
    # A client that has seen a topic does not find partitions that were added later: a new client does.
    everything = [TopicPartition(name, number) for name in names for number in range(partitions)]
    latest = {partition: OffsetSpec.latest() for partition in everything}  # type: ignore[no-untyped-call]
    with AdminClient(client_config(settings, "gourmetgram-topics")) as admin:
        _wait(admin.list_offsets(latest, request_timeout=_TIMEOUT_S).values())


def _partition_counts(admin: AdminClient, names: list[str]) -> dict[str, int]:
    """Number of partitions of each topic that exists. A shared broker may hold thousands of other topics."""
    counts = {}
    for name, answer in admin.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT_S).items():
        try:
            counts[name] = len(answer.result().partitions)
        except KafkaException as error:
            if not _not_known_yet(error):
                raise
    return counts


def _not_known_yet(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


# A busy broker knows a new topic only a moment after it has confirmed its creation.
@retry(retry=retry_if_exception(_not_known_yet), wait=wait_fixed(0.2), stop=stop_after_delay(_TIMEOUT_S), reraise=True)
def _correct(admin: AdminClient, names: list[str], partitions: int) -> None:
    _correct_partitions(admin, names, partitions)
    _correct_config(admin, names)


def _correct_partitions(admin: AdminClient, names: list[str], partitions: int) -> None:
    counts = _partition_counts(admin, names)
    for name, count in counts.items():
        if count > partitions:
            raise PermanentError(
                f"Topic {name} has {count} partitions instead of {partitions}, and Kafka cannot remove any: "
                "delete the topic (its events are lost) and run this again."
            )
    too_few = [NewPartitions(name, partitions) for name, count in counts.items() if count < partitions]
    if too_few:
        _wait(admin.create_partitions(too_few, request_timeout=_TIMEOUT_S).values())
        log.info("Added partitions to %s", ", ".join(item.topic for item in too_few))


def _correct_config(admin: AdminClient, names: list[str]) -> None:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    corrections = []
    for resource, answer in admin.describe_configs(resources, request_timeout=_TIMEOUT_S).items():
        actual = answer.result()
        different = {key: value for key, value in CONFIG.items() if actual[key].value != value}
        if different:
            log.info("Correcting %s of topic %s", ", ".join(different), resource.name)
            corrections.append(
                ConfigResource(
                    ResourceType.TOPIC,
                    resource.name,
                    incremental_configs=[
                        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                        for key, value in different.items()
                    ],
                )
            )
    if corrections:
        _wait(admin.incremental_alter_configs(corrections, request_timeout=_TIMEOUT_S).values())


def _wait(answers: Iterable[Future[Any]]) -> None:
    for answer in answers:
        answer.result()


def main() -> None:
    """Create or correct the topics, and log them."""
    configure_logging(LogSettings.load().log_level)
    for name in ensure_topics(KafkaSettings.load()):
        log.info("%s: %d partitions, %s", name, PARTITIONS, ", ".join(f"{k}={v}" for k, v in CONFIG.items()))


if __name__ == "__main__":
    main()
