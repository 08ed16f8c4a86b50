"""Records come back with the offsets, times, keys, values and headers that they had."""

from pathlib import Path

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.clients import client_config, create_producer
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, create_range_reader, held_ranges, read_ranges
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import CONFIG, PARTITIONS
from gourmetgram_tools.backup.folder import BackupFolder, GroupOffset
from gourmetgram_tools.backup.records import dump_records, group_offsets, restore_groups, restore_records
from tests.conftest import MakeTopics

pytestmark = pytest.mark.servers


@pytest.fixture(name="kafka")
def kafka_fixture(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap)


def _facts(message: Message) -> tuple[object, ...]:
    return message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers()


def _read(kafka: KafkaSettings, topic: str) -> tuple[dict[int, OffsetRange], dict[int, list[tuple[object, ...]]]]:
    """Ranges and facts of all records, by the numbers of the partitions."""
    consumer = create_range_reader(kafka, "test", "test")
    held = held_ranges(consumer, [topic])
    found: dict[int, list[tuple[object, ...]]] = {number: [] for number in range(PARTITIONS)}
    for messages in read_ranges(consumer, held):
        for message in messages:
            found[message.partition() or 0].append(_facts(message))
    consumer.close()
    return {partition.number: span for partition, span in held.items()}, found


def _filled(kafka: KafkaSettings, topic: str) -> None:
    """Partition 0 begins at offset 4, partition 1 is empty again, partition 2 has one record, partition 3 had none."""
    producer = create_producer(kafka, "test")
    for number in range(10):
        producer.produce(topic, f"value {number}".encode(), f"key {number}".encode(), 0, headers=[("h", b"1")])
    producer.produce(topic, None, b"", 0)
    producer.produce(topic, b"", None, 1)
    producer.produce(topic, b"only", b"key", 2)
    assert producer.flush(30) == 0
    with AdminClient(client_config(kafka, "test")) as admin:
        for answer in admin.delete_records([TopicPartition(topic, 0, 4), TopicPartition(topic, 1, 1)]).values():
            answer.result()


def _saved(kafka: KafkaSettings, source: str, target: str, folder: BackupFolder) -> dict[Partition, OffsetRange]:
    """Dump a topic under another topic's name."""
    ranges = {Partition(source, number): span for number, span in _read(kafka, source)[0].items()}
    dump_records(kafka, ranges, folder, lambda _text: None)
    for partition in ranges:
        folder.records(partition).rename(folder.records(partition._replace(topic=target)))
    return {partition._replace(topic=target): span for partition, span in ranges.items()}


def test_records_keep_their_offsets_times_keys_values_and_headers(
    kafka: KafkaSettings, make_topics: MakeTopics, tmp_path: Path
) -> None:
    source, target = make_topics("SOURCE", "TARGET").values()
    _filled(kafka, source)
    folder = BackupFolder.create(tmp_path / "one")
    restore_records(kafka, _saved(kafka, source, target, folder), folder, lambda _text: None)
    before, after = _read(kafka, source), _read(kafka, target)
    assert after == before
    assert before[0] == {0: OffsetRange(4, 11), 1: OffsetRange(1, 1), 2: OffsetRange(0, 1), 3: OffsetRange(0, 0)}


def test_after_a_restore_topics_have_the_platforms_settings(
    kafka: KafkaSettings, make_topics: MakeTopics, tmp_path: Path
) -> None:
    source, target = make_topics("SOURCE", "TARGET").values()
    folder = BackupFolder.create(tmp_path / "one")
    restore_records(kafka, _saved(kafka, source, target, folder), folder, lambda _text: None)
    resource = ConfigResource(ResourceType.TOPIC, target)
    with AdminClient(client_config(kafka, "test")) as admin:
        (answer,) = admin.describe_configs([resource]).values()
        found = answer.result()
    assert {name: found[name].value for name in CONFIG} == CONFIG


def test_a_topic_that_is_not_empty_is_noticed(kafka: KafkaSettings, make_topics: MakeTopics, tmp_path: Path) -> None:
    source, target = make_topics("SOURCE", "TARGET").values()
    _filled(kafka, source)
    _filled(kafka, target)
    folder = BackupFolder.create(tmp_path / "one")
    ranges = _saved(kafka, source, target, folder)
    with pytest.raises(PermanentError, match="another program writes to the topic"):
        restore_records(kafka, ranges, folder, lambda _text: None)


def test_committed_offsets_come_back(kafka: KafkaSettings, make_topics: MakeTopics) -> None:
    (topic,) = make_topics("TOPIC").values()
    _filled(kafka, topic)
    group = f"{topic}-group"
    offsets = [GroupOffset(group=group, topic=topic, number=0, offset=7)]
    restore_groups(kafka, offsets)
    assert group_offsets(kafka, group, [Partition(topic, 0), Partition(topic, 1)]) == offsets
