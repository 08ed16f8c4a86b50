"""From the 100th view's response to the stored decision, and the memory of each process."""

import time

import httpx
import psutil
import psycopg2

from bench.platform import bench_stack, create_cast
from bench.report import Row
from gourmetgram_tools.local.stack import Stack

VIRAL_VIEWS = 100
DEADLINE_S = 10.0


def decision_latency_ms(client: httpx.Client, cursor: "psycopg2.extensions.cursor", image_id: str) -> float | None:
    """Milliseconds from the response to the 100th view until the row is visible; None when it never came."""
    for _ in range(VIRAL_VIEWS):
        client.post(f"/images/{image_id}/view").raise_for_status()
    begin = time.perf_counter()
    while time.perf_counter() - begin < DEADLINE_S:
        cursor.execute("SELECT 1 FROM moderation WHERE target_type = 'image' AND target_id = %s", (image_id,))
        if cursor.fetchone():
            return (time.perf_counter() - begin) * 1000
        time.sleep(0.0005)
    return None


def run(bursts: int) -> list[Row]:
    """Bursts one after the other, each on a fresh image."""
    with bench_stack(["api_v2", "stream_consumer", "risk_scoring_service"]) as stack:
        environment = stack.environment()
        cast = create_cast(environment["GENERATOR_API_URL"], 5, bursts + 2)
        with (
            httpx.Client(base_url=environment["GENERATOR_API_URL"]) as client,
            psycopg2.connect(environment["DATABASE_URL"]) as connection,
            connection.cursor() as cursor,
        ):
            connection.autocommit = True
            # The first two warm caches and connections up.
            times = [decision_latency_ms(client, cursor, image_id) for image_id in cast.image_ids][2:]
        answered = sorted(value for value in times if value is not None)
        return [
            Row(
                f"100th view's response to the stored decision, {bursts} bursts",
                f"p50 {answered[len(answered) // 2]:.1f} ms, p95 {answered[int(len(answered) * 0.95)]:.1f} ms, "
                f"{len(answered) / len(times):.0%} answered",
                target="p50 <= 15 ms, p95 <= 40 ms, 100 % answered",
            ),
            *memory_rows(stack),
        ]


def memory_rows(stack: Stack) -> list[Row]:
    """Proportional set size of each running process of the stack, in MB."""
    rows = []
    for status in stack.status():
        if status.pid is None:
            continue
        process = psutil.Process(status.pid)
        family = [process, *process.children(recursive=True)]
        megabytes = sum(member.memory_full_info().pss for member in family) / 1_000_000
        rows.append(Row(f"memory of {status.name}", f"{megabytes:,.0f} MB"))
    return rows
