"""After a restore of the topics, the aggregation reads on at its offsets, unless the broker holds other records."""

import uuid
from contextlib import closing
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, create_range_reader, held_ranges
from gourmetgram.lakehouse.restored import continue_on_restored_topics
from gourmetgram_tools.backup.folder import BackupFolder
from gourmetgram_tools.backup.records import dump_records, restore_records
from tests.support.lakehouse_platform import LakehousePlatform

pytestmark = pytest.mark.servers

IMAGE = str(uuid.UUID(int=1, version=4))


def _flags(lakehouse: LakehousePlatform, number: int) -> None:
    lakehouse.publish(*(lakehouse.make("flag", IMAGE) for _ in range(number)))


def _dumped(lakehouse: LakehousePlatform, topic: str, folder: BackupFolder) -> dict[Partition, OffsetRange]:
    with closing(create_range_reader(lakehouse.sources.kafka, "test", "test")) as consumer:
        ranges = held_ranges(consumer, [topic])
    dump_records(lakehouse.sources.kafka, ranges, folder, lambda _text: None)
    return ranges


def test_restored_records_are_read_once(lakehouse: LakehousePlatform, tmp_path: Path) -> None:
    topic, folder = lakehouse.topic("flag"), BackupFolder.create(tmp_path / "one")
    _flags(lakehouse, 5)
    lakehouse.run()
    _flags(lakehouse, 3)
    ranges = _dumped(lakehouse, topic, folder)
    lakehouse.recreate(topic)
    restore_records(lakehouse.sources.kafka, ranges, folder, lambda _text: None)
    with pytest.raises(PermanentError, match="was deleted and created again"):
        lakehouse.run()
    assert continue_on_restored_topics(lakehouse.sources) is not None
    assert lakehouse.run().records == 3
    lakehouse.assert_exact()


def test_other_records_at_the_same_offsets_are_refused(lakehouse: LakehousePlatform) -> None:
    topic = lakehouse.topic("flag")
    _flags(lakehouse, 5)
    lakehouse.run()
    before = lakehouse.snapshot_ids()
    lakehouse.recreate(topic)
    _flags(LakehousePlatform(lakehouse.sources), 7)
    with pytest.raises(PermanentError, match="the last record that was read is not the one in the broker"):
        continue_on_restored_topics(lakehouse.sources)
    assert lakehouse.snapshot_ids() == before


def test_missing_records_are_refused(lakehouse: LakehousePlatform) -> None:
    _flags(lakehouse, 5)
    lakehouse.run()
    lakehouse.recreate(lakehouse.topic("flag"))
    with pytest.raises(PermanentError, match="does not hold record 4, the last one that was read"):
        continue_on_restored_topics(lakehouse.sources)


def test_without_a_run_there_is_nothing_to_record(lakehouse: LakehousePlatform) -> None:
    assert continue_on_restored_topics(lakehouse.sources) is None
