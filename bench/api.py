"""Requests per second of the API: hot and spread views, comments, flags and uploads at 1, 16 and 64 clients."""

import uuid
from collections.abc import Sequence

import orjson

from bench.limits import postgres_group_commit
from bench.load import LoadResult, request_bytes, run_load
from bench.platform import Cast, bench_stack, create_cast, picture
from bench.report import Row
from gourmetgram.settings import PostgresSettings
from gourmetgram_tools.local.stack import Stack

CLIENTS = (1, 16, 64)
SPREAD_IMAGES = 1_000
USERS = 50


def upload_requests(cast: Cast, count: int = 16) -> list[bytes]:
    """Multipart uploads of a 60 KB picture by different users."""
    photo = picture()
    boundary = uuid.uuid4().hex
    requests = []
    for user_id in cast.user_ids[:count]:
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="user_id"\r\n\r\n{user_id}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="category"\r\n\r\nBread\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode() + photo
        body += f"\r\n--{boundary}--\r\n".encode()
        requests.append(request_bytes("POST", "/upload/", body, f"multipart/form-data; boundary={boundary}"))
    return requests


def workloads(cast: Cast) -> dict[str, Sequence[bytes]]:
    """Name of each workload and its requests."""
    hot = cast.image_ids[0]
    return {
        "view, one hot image": [request_bytes("POST", f"/images/{hot}/view")],
        "view, 1,000 images": [request_bytes("POST", f"/images/{image}/view") for image in cast.image_ids],
        "comment": [
            request_bytes(
                "POST",
                "/comments/",
                orjson.dumps({"image_id": image, "user_id": user, "content": "Looks delicious"}),
            )
            for image, user in zip(cast.image_ids, cast.user_ids * SPREAD_IMAGES, strict=False)
        ],
        "flag": [
            request_bytes(
                "POST",
                "/flags/",
                orjson.dumps({"image_id": image, "user_id": user, "reason": "spam in comment"}),
            )
            for image, user in zip(cast.image_ids, cast.user_ids * SPREAD_IMAGES, strict=False)
        ],
        "upload of 60 KB": upload_requests(cast),
    }


TARGETS = {
    ("view, one hot image", 64): ">= 65 %, p99 <= 60 ms",
    ("view, 1,000 images", 64): ">= 65 %, p99 <= 60 ms",
    ("comment", 64): ">= 45 %",
    ("flag", 64): ">= 45 %",
    ("upload of 60 KB", 16): ">= 300 req/s",
}


def _row(work: str, result: LoadResult, noop: LoadResult) -> Row:
    failed = f", {result.failures} failed" if result.failures else ""
    return Row(
        work=f"{work}, {result.clients} clients" if result.clients > 1 else f"{work}, 1 client",
        figure=f"{result.rate:,.0f} req/s, p50 {result.percentile(0.5):.1f} ms, "
        f"p99 {result.percentile(0.99):.1f} ms{failed}",
        limit=f"{noop.rate:,.0f} req/s (route that touches nothing)",
        share=f"{result.rate / noop.rate:.0%}",
        target=TARGETS.get((work, result.clients), ""),
    )


def run(seconds: float) -> list[Row]:
    """Measure each workload right after the no-op route with the same number of clients."""
    with bench_stack(["api_v2"]) as stack:
        rows = _measure(stack, seconds)
        limit = postgres_group_commit(PostgresSettings.load(stack.environment()), seconds)
        rows.append(Row("bare PostgreSQL, batches of 64 views and their outbox rows, no HTTP", f"{limit:,.0f} rows/s"))
        return rows


def _measure(stack: Stack, seconds: float) -> list[Row]:
    environment = stack.environment()
    host, port = "127.0.0.1", stack.ports.api
    cast = create_cast(environment["GENERATOR_API_URL"], USERS, SPREAD_IMAGES)
    rows = []
    for clients in CLIENTS:
        for work, requests in workloads(cast).items():
            noop = run_load(host, port, [request_bytes("GET", "/bench/noop")], clients=clients, seconds=seconds / 2)
            rows.append(_row(work, run_load(host, port, requests, clients=clients, seconds=seconds), noop))
    return rows
