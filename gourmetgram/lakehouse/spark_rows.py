"""Kafka to files of `events` on Apache Spark: executors read, parse and write; this process commits.

Each task runs the same code as the aggregation in one process (`EventRows`). It writes files in the table's folder and
reports them. Only these reports come through Spark's driver. Files of a failed task are in no report, so no commit adds
them; the maintenance removes them.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import orjson
import pyarrow.parquet as pq
from confluent_kafka import Consumer
from pyiceberg.table import Table

from gourmetgram.kafka.java_client import java_options
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.lakehouse.broker import GROUP
from gourmetgram.lakehouse.continuity import updated
from gourmetgram.lakehouse.engine.spark import spark_session
from gourmetgram.lakehouse.engine.spark_server import spark_address
from gourmetgram.lakehouse.event_rows import WrittenEvents
from gourmetgram.lakehouse.files import WrittenFile, data_file
from gourmetgram.lakehouse.progress import offsets_from_json, offsets_to_json
from gourmetgram.lakehouse.spark_task import COLUMNS, REPORT, Task
from gourmetgram.settings import KafkaSettings, OfflineSettings

log = logging.getLogger(__name__)

# A task writes one file a day: fewer tasks make fewer files.
_RECORDS_OF_A_TASK: Final = 250_000


class SparkWriter:
    """Reading and writing by the executors; see `gourmetgram.lakehouse.event_rows.WriteRows`.

    Args:
        kafka: the broker that the executors read from.
        offline_settings: address of the server, or where one is started.
    """

    def __init__(self, kafka: KafkaSettings, offline_settings: OfflineSettings) -> None:
        self._kafka = kafka
        self._offline_settings = offline_settings

    def __call__(
        self, consumer: Consumer, ranges: Mapping[Partition, OffsetRange], table: Table, ingested_at: datetime
    ) -> WrittenEvents:
        """Read and write on Spark; a run without new records does without it."""
        unread = {partition: item for partition, item in ranges.items() if item.records > 0}
        reports = self._reports(unread, Task(table, ingested_at)) if unread else []
        return _sum(table, reports)

    def _reports(self, ranges: Mapping[Partition, OffsetRange], task: Task) -> list[dict[str, Any]]:
        total = sum(item.records for item in ranges.values())
        log.info("Spark reads %d records of %d partitions", total, len(ranges))
        with (
            spark_address(self._offline_settings) as address,
            spark_session(address) as session,
        ):
            log.debug("Step done: session opened")
            records = session.read.format("kafka").options(**_options(self._kafka, ranges)).load()
            tasks = records.select(*COLUMNS).coalesce(-(-total // _RECORDS_OF_A_TASK))
            reports: list[dict[str, Any]] = tasks.mapInArrow(task, REPORT).toArrow().to_pylist()
            return reports


def _options(kafka: KafkaSettings, ranges: Mapping[Partition, OffsetRange]) -> dict[str, str]:
    partitions: dict[str, list[int]] = {}
    starts: dict[str, dict[int, int]] = {}
    ends: dict[str, dict[int, int]] = {}
    for (topic, number), item in ranges.items():
        partitions.setdefault(topic, []).append(number)
        starts.setdefault(topic, {})[number] = item.start
        ends.setdefault(topic, {})[number] = item.end
    return {
        "assign": orjson.dumps(partitions).decode(),
        "startingOffsets": offsets_to_json(starts),
        "endingOffsets": offsets_to_json(ends),
        # A record that retention deletes between freezing and reading is an error, never a silent jump.
        "failOnDataLoss": "true",
        # Executors keep clients for each group and partition: with a new login, the same group would be refused.
        "groupIdPrefix": GROUP,
        **{f"kafka.{name}": value for name, value in java_options(kafka).items()},
    }


def _sum(table: Table, reports: Iterable[Mapping[str, Any]]) -> WrittenEvents:
    written = WrittenEvents([], Counter(), Counter(), {})
    for report in reports:
        for file in report["files"]:
            footer = pq.read_metadata(BytesIO(file["footer"]))
            written.files.append(data_file(table, WrittenFile(**{**file, "footer": footer})))
        kinds, skipped = orjson.loads(report["counts"])
        written.kinds.update(kinds)
        written.skipped.update(skipped)
        last_records = updated(written.last_records, offsets_from_json(report["last_records"]))
        written = written._replace(last_records=last_records)
    return written
