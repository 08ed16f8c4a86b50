"""The audit's queries on tables made by SQL, for histories that are too long to write to the servers.

`python -m bench.audit_tables --events 8000000` measures and prints. The tables agree in all stores, so that no check
finds a difference. Reading the stores is measured by `bench.growth`; it goes row by row.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Final

import orjson

from bench.memory import peak_memory_bytes
from gourmetgram.events import request_uuid
from gourmetgram.moments import HOUR_US, now_us
from gourmetgram.windows import COUNT_NAMES, IDLE_TTL_S, UPLOAD_TRIGGER, TriggerSettings
from gourmetgram_tools.inspection.checks import take_notes
from gourmetgram_tools.inspection.checks.event_checks import EVENT_CHECKS
from gourmetgram_tools.inspection.checks.lakehouse_checks import LAKEHOUSE_CHECKS
from gourmetgram_tools.inspection.checks.redis_checks import REDIS_CHECKS
from gourmetgram_tools.inspection.checks.request_checks import REQUEST_CHECKS
from gourmetgram_tools.inspection.derived import derive
from gourmetgram_tools.inspection.tables import MEMORY_LIMIT, StoreTables, open_tables

EVENTS_PER_IMAGE: Final = 50
RULES: Final = TriggerSettings(
    viral_threshold_views_5min=10_000_000,
    suspicious_threshold_comments_1min=10_000_000,
    flagged_threshold_flags_5min=10_000_000,
    popular_threshold_views_1hr=10_000,
    trigger_on_upload=True,
)

# Two days of events: each image's upload first, then reactions; image 0 has half a per cent of all.
_FILL: Final = """
INSERT INTO records
SELECT kind || 's', image % 4, n, time_us + 10000, time_us, kind, md5('event' || n)::UUID, md5('image' || image)::UUID,
       CASE kind WHEN 'view' THEN NULL WHEN 'upload' THEN md5('image' || image)::UUID
                 ELSE md5('event' || n)::UUID END,
       true, false, true, true
FROM (
    SELECT n, oldest_us() + n * 172800000000 // events() AS time_us,
           CASE WHEN n < images() THEN 'upload' WHEN n % 100 < 85 THEN 'view' WHEN n % 100 < 96 THEN 'comment'
                ELSE 'flag' END AS kind,
           CASE WHEN n < images() THEN n WHEN n % 200 = 0 THEN 0 ELSE hash(n) % images() END AS image
    FROM range(events()) AS numbers(n)
);
INSERT INTO upload_fields SELECT event_id, 'Bread', '0', 'user' FROM records WHERE kind = 'upload';
INSERT INTO spans SELECT topic, partition, 0, events() FROM records GROUP BY ALL;
INSERT INTO lake_offsets SELECT topic, partition, events() FROM records GROUP BY ALL;
INSERT INTO lake_events
SELECT topic, partition, "offset", time_us, kind, event_id, image_id, row_id, eligible FROM records;
INSERT INTO lake_windows
SELECT kind, kind, count(*), count(*), 0, true FROM records WHERE kind != 'upload' GROUP BY kind;
INSERT INTO images
SELECT image_id, NULL, 'user_upload', min(time_us), NULL, count(*) FILTER (kind = 'view'), true
FROM records GROUP BY image_id;
INSERT INTO actions SELECT kind, row_id, image_id, time_us FROM records WHERE kind IN ('comment', 'flag');
INSERT INTO milestones SELECT image_id, unnest([each for each in [10, 100, 1000] if views >= each]) FROM images;
"""


def fill(tables: StoreTables, events: int) -> None:
    """Fill empty tables with so many events, their rows, requests and decisions."""
    oldest_us = now_us() - IDLE_TTL_S * 1_000_000 - 72 * HOUR_US
    tables.define(strict=False, consumer_group="consumer", moderation_topic="requests", oldest_us=oldest_us)
    tables.define(events=events, images=events // EVENTS_PER_IMAGE, complete_through_us=now_us())
    for statement in _FILL.split(";\n"):
        tables.run(statement)
    read_to = {f"{kind}s": events for kind in ("view", "comment", "flag", "upload")}
    counts = dict.fromkeys(COUNT_NAMES, 0)
    context = orjson.dumps({**counts, "read_to": read_to}, option=orjson.OPT_SORT_KEYS).decode()
    stored = orjson.dumps(counts).decode()

    def rows() -> Iterator[tuple[str, tuple[object, ...]]]:
        uploads = tables.stream(
            'SELECT image_id::VARCHAR, event_id::VARCHAR, partition, "offset", time_us FROM records '
            "WHERE kind = 'upload'"
        )
        for image, event, partition, offset, time_us in uploads:
            request = request_uuid(image, UPLOAD_TRIGGER, event)
            yield "request_records", (request, partition, offset, image, UPLOAD_TRIGGER, time_us, context, True)
            yield "decisions", (event, request, image, UPLOAD_TRIGGER, stored)

    tables.load_several(rows())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_tables", description=__doc__)
    parser.add_argument("--events", type=int, default=8_000_000, help="number of events (8000000)")
    parser.add_argument("--memory-limit", default=MEMORY_LIMIT, help=f"DuckDB's limit ({MEMORY_LIMIT})")
    options = parser.parse_args()
    with open_tables(options.memory_limit) as tables:
        fill(tables, options.events)
        _tell("filled")
        derive(tables, RULES, now_us())
        _tell("derived")
        for query in (*EVENT_CHECKS, *REDIS_CHECKS, *REQUEST_CHECKS, *LAKEHOUSE_CHECKS):
            check = query.run(tables)
            _tell(f"{check.name}: {check.expected:,} {check.actual:,} {len(check.differences)} {check.differences[:2]}")
        take_notes(tables)
        _tell("notes")


def _tell(step: str) -> None:
    print(f"peak {peak_memory_bytes() / 1e6:.0f} MB, {time.process_time():.1f} s of CPU: {step}", flush=True)


if __name__ == "__main__":
    main()
