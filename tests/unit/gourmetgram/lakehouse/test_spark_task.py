"""Messages of Spark's reader are those of confluent-kafka."""

from datetime import UTC, datetime

import pyarrow as pa
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE

from gourmetgram.lakehouse.spark_task import COLUMNS, as_messages

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_all_fields_arrive() -> None:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(["views", "flags"]),
            pa.array([3, 0], pa.int32()),
            pa.array([2**40, 0]),
            pa.array([b"key", None], pa.binary()),
            pa.array([b"\xff", None], pa.binary()),
            pa.array([AT, datetime.fromtimestamp(0, UTC)], pa.timestamp("us", tz="UTC")),
            pa.array([0, -1], pa.int32()),
        ],
        names=list(COLUMNS),
    )
    first, second = as_messages(batch)
    assert (first.topic(), first.partition(), first.offset()) == ("views", 3, 2**40)
    assert (first.key(), first.value(), first.error()) == (b"key", b"\xff", None)
    assert first.timestamp() == (TIMESTAMP_CREATE_TIME, round(AT.timestamp() * 1000))
    assert (second.key(), second.value(), second.timestamp()[0]) == (None, None, TIMESTAMP_NOT_AVAILABLE)
