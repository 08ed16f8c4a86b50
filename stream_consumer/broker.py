"""Offsets and topics, by requests to the broker."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import client_config
from gourmetgram.kafka.metadata import topic_ids
from gourmetgram.kafka.partitions import Partition
from gourmetgram.settings import KafkaSettings
from stream_consumer.alignment import PartitionLimits

_ANSWER_TIMEOUT_S: Final = 2.0
_EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_Answer = TypeVar("_Answer")


class BrokerOffsets:
    """Asks the broker for the limits and ends of partitions, over connections of its own.

    Args:
        settings: address of the broker.
        client_id: prefix of the names of its clients.
        servers: number of Redis servers.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, servers: int = 1) -> None:
        self._servers = servers
        self._settings = settings
        self._client_id = client_id
        self._admin = self._create_admin()
        self._ends_client = self._create_ends_client()

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        """First and next offset of partitions, and the identity of their topics, by requests to the broker.

        Raises:
            TransientError: the broker did not answer, or the topics have different numbers of partitions, or a number
                that the number of Redis servers does not divide.
        """
        self._refuse_counts(sorted({partition.topic for partition in of}))
        low = self._list_offsets(of, _EARLIEST)
        high = self._list_offsets(of, _LATEST)
        origins = self._origins(sorted({partition.topic for partition in of}))
        return {
            partition: PartitionLimits(low[partition], high[partition], origins[partition.topic]) for partition in of
        }

    def ends(self, of: Iterable[Partition]) -> dict[Partition, int]:
        """Next offset of partitions, by a request to the broker.

        One request over its own connection: the consumer's is held by fetch requests for up to 100 ms. (The admin
        client looks up the leaders for each request, which takes half as long again.)

        Raises:
            TransientError: the broker did not answer.
        """
        return self._offsets_for_times([TopicPartition(*partition, OFFSET_END) for partition in of])

    def since(self, times_us: Mapping[Partition, int]) -> dict[Partition, int]:
        """First offset of each partition whose record the broker stored at this time or later; else its next offset.

        Raises:
            TransientError: the broker did not answer.
        """
        if not times_us:
            return {}
        wanted = [TopicPartition(*partition, max(0, time_us) // 1_000) for partition, time_us in times_us.items()]
        found = self._offsets_for_times(wanted)
        ends = self.ends(partition for partition, offset in found.items() if offset < 0)
        return {**found, **ends}

    def topic_partitions(self, topic: str) -> list[Partition]:
        """Partitions of a topic; none when it is missing.

        Raises:
            TransientError: the broker did not answer.
        """
        try:
            known = self._admin.list_topics(timeout=_ANSWER_TIMEOUT_S).topics
        except KafkaException as error:
            raise TransientError(f"the broker did not describe its topics: {error}") from error
        return [Partition(topic, number) for number in known[topic].partitions] if topic in known else []

    def close(self) -> None:
        """Close the connections."""
        self._ends_client.close()

    def _offsets_for_times(self, wanted: list[TopicPartition]) -> dict[Partition, int]:
        if not wanted:
            return {}
        try:
            answers = self._ends_client.offsets_for_times(wanted, timeout=_ANSWER_TIMEOUT_S)
            for answer in answers:
                if answer.error is not None:
                    raise KafkaException(answer.error)
        except KafkaException as error:
            self._ends_client.close()
            self._ends_client = self._create_ends_client()
            raise TransientError(f"the broker did not report its offsets: {error}") from error
        return {Partition(answer.topic, answer.partition): answer.offset for answer in answers}

    def _list_offsets(self, of: Iterable[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        wanted = {TopicPartition(*partition): spec for partition in of}
        if not wanted:
            return {}
        try:
            answers = self._admin.list_offsets(wanted, request_timeout=_ANSWER_TIMEOUT_S)
            return {Partition(found.topic, found.partition): _wait(answer).offset for found, answer in answers.items()}
        except (KafkaException, TimeoutError) as error:
            # After a restart of the broker, a client uses the old leader epoch for minutes and gets
            # FENCED_LEADER_EPOCH; a new client learns the new epoch at once.
            self._admin = self._create_admin()
            raise TransientError(f"the broker did not report its offsets: {error}") from error

    def _origins(self, topics: list[str]) -> dict[str, str]:
        ids = topic_ids(self._admin, topics, _ANSWER_TIMEOUT_S)
        missing = sorted(set(topics) - set(ids))
        if missing:
            raise TransientError(f"the broker has no topic {missing[0]}")
        if None not in ids.values():
            return {topic: f"topic:{topic_id}" for topic, topic_id in ids.items()}
        # A broker without topic ids: the cluster's id must do. Empty storage makes at least a new cluster.
        try:
            cluster = self._admin.list_topics(timeout=_ANSWER_TIMEOUT_S).cluster_id
        except KafkaException as error:
            raise TransientError(f"the broker did not describe its cluster: {error}") from error
        return dict.fromkeys(topics, f"cluster:{cluster}")

    def _refuse_counts(self, topics: list[str]) -> None:
        """Refuse numbers of partitions by which the events or the server of an image could not be found."""
        try:
            known = self._admin.list_topics(timeout=_ANSWER_TIMEOUT_S).topics
        except KafkaException as error:
            raise TransientError(f"the broker did not describe its topics: {error}") from error
        counts = {topic: len(known[topic].partitions) for topic in topics if topic in known}
        if len(set(counts.values())) > 1:
            described = ", ".join(f"{topic} has {number}" for topic, number in counts.items())
            raise TransientError(
                f"the event topics have different numbers of partitions: {described}. An image must have the same "
                "partition number in all of them: give all topics the same number (rpk topic add-partitions)"
            )
        number = max(counts.values(), default=0)
        if number % self._servers:
            raise TransientError(
                f"the event topics have {number} partitions, which {self._servers} Redis servers cannot share equally: "
                "set REDIS_URLS to a number of servers that divides the number of partitions, or add partitions"
            )

    def _create_ends_client(self) -> Consumer:
        """A client that reads nothing and is no member of a group: its connection is always free."""
        name = f"{self._client_id}-ends"
        return Consumer({**client_config(self._settings, name), "group.id": name})

    def _create_admin(self) -> AdminClient:
        return AdminClient(client_config(self._settings, f"{self._client_id}-admin"))


def _wait(answer: Future[_Answer]) -> _Answer:
    return answer.result(_ANSWER_TIMEOUT_S + 0.5)
