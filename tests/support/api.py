"""An API under test: the real application behind a real HTTP server, and a look into every store behind it."""

import asyncio
import contextlib
import io
import json
import random
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import asyncpg
import httpx
import uvicorn
from confluent_kafka import Consumer, TopicPartition
from fastapi import FastAPI
from PIL import Image

from api_v1.app import create_app as create_v1
from api_v1.orphan_sweeper import OrphanSweeper
from api_v1.services import Services
from api_v1.settings import ApiSettings
from api_v2.app import create_app as create_v2
from api_v2.settings import ApiV2Settings
from gourmetgram.buckets import OWNER_KEY
from gourmetgram.clients import s3
from gourmetgram.database.pool import Database
from gourmetgram.kafka.records import to_record
from gourmetgram.object_store import ObjectStore
from gourmetgram.settings import ObjectStoreSettings
from tests.support.databases import owner_url, role_url
from tests.support.object_logins import as_object_user
from tests.support.waiting import wait_until_async

NOBODY: Final = "0b8f6a1e-3c5d-4e7f-9a2b-6d8c0e1f2a3b"
"""A well-formed id that nothing has."""


ANY_AGE_S: Final = -60.0
"""Age of a picture that a sweep takes for old enough, whatever the clocks of this machine say."""

# An identity never goes back, so its last value counts the events that were ever written, the published ones too.
_TRACES: Final = """
    SELECT (SELECT count(*) FROM users) AS users,
           (SELECT count(*) FROM images) AS images,
           (SELECT count(*) FROM comments) AS comments,
           (SELECT count(*) FROM flags) AS flags,
           (SELECT COALESCE(sum(views), 0)::bigint FROM images) AS views,
           (SELECT COALESCE(last_value, 0) FROM pg_sequences
            WHERE sequencename = 'event_outbox_sequence_seq') AS events"""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave pytest's signal handlers alone."""
        yield


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application from this event loop on a free port; yields its base URL."""
    # Idle connections stay open longer than a client keeps them, so that none is closed while it is taken up again.
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        http="httptools",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started or task.done()

    await wait_until_async(started, what="the server's start")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@dataclass
class Api:
    """A served API with short words for what tests do.

    Attributes:
        version: 1 or 2.
        http: a client of it.
        database: a connection to its database.
        environment: the variables it was built from.
        services: its stores and writers, when it runs in this process.
    """

    version: int
    http: httpx.AsyncClient
    database: asyncpg.Connection
    environment: Mapping[str, str]
    services: Services | None = None

    async def user(self, **fields: Any) -> str:
        """Create a user and return the id."""
        answer = await self.http.post("/users/", json={"username": uuid.uuid4().hex, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def image(self, user_id: str | None = None, **fields: str) -> str:
        """Upload an image and return the id."""
        answer = await self.upload(user_id or await self.user(), picture(), **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def upload(self, user_id: str, data: bytes, name: str = "photo.jpg", **fields: str) -> httpx.Response:
        """Send the upload form."""
        return await self.http.post("/upload/", data={"user_id": user_id, **fields}, files={"file": (name, data)})

    async def comment(self, image_id: str, user_id: str, content: str = "yum") -> httpx.Response:
        """Send a comment."""
        return await self.http.post("/comments/", json={"image_id": image_id, "user_id": user_id, "content": content})

    async def flag(self, **fields: Any) -> httpx.Response:
        """Send a flag."""
        return await self.http.post("/flags/", json={"reason": "not food", **fields})

    async def view(self, image_id: str) -> httpx.Response:
        """Send a view."""
        return await self.http.post(f"/images/{image_id}/view")

    async def row(self, sql: str, *arguments: object) -> dict[str, Any]:
        """The only row of a query."""
        (record,) = await self.database.fetch(sql, *arguments)
        return dict(record)

    async def count(self, table: str) -> int:
        """Rows of a table."""
        return int(await self.database.fetchval(f"SELECT count(*) FROM {table}"))

    async def waiting(self) -> int:
        """Events that the relay has not published."""
        return int(await self.database.fetchval("SELECT count(*) FROM event_outbox WHERE published_at IS NULL"))

    async def traces(self) -> dict[str, int]:
        """How much there is of everything that a request can leave behind."""
        counts = await self.row(_TRACES)
        counts["objects"] = await asyncio.to_thread(lambda: len(self.object_keys()))
        return counts

    @cached_property
    def s3(self) -> Any:
        """A client of the object store, which any thread may use."""
        return s3.connect(ObjectStoreSettings.load(self.environment), s3.JOB)

    def object_keys(self) -> list[str]:
        """Keys of all objects in the bucket, without the mark of its owner."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.environment["S3_BUCKET_NAME"])
        return [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"] != OWNER_KEY]

    async def events(self, kind: str, image_id: str, number: int = 1) -> list[dict[str, Any]]:
        """The image's events in Kafka, in their order, once there are as many."""
        topic = self.environment[f"KAFKA_TOPIC_{kind.upper()}S"]

        async def found() -> list[dict[str, Any]]:
            messages = await asyncio.to_thread(read_topic, self.environment["KAFKA_BOOTSTRAP_SERVERS"], topic)
            events = [event for key, event in messages if key == image_id]
            return events if len(events) >= number else []

        return await wait_until_async(found, 20.0, f"{number} events of image {image_id} in {topic}")


@asynccontextmanager
async def running_api(version: int, environment: Mapping[str, str], *, as_owner: bool = False) -> AsyncIterator[Api]:
    """Build, serve and stop one version of the API.

    Args:
        version: 1 or 2.
        environment: variables of the API.
        as_owner: log in to PostgreSQL as the owner of the tables, for a database in which the API's role has no rights.
    """
    url = environment["DATABASE_URL"]
    variables = await asyncio.to_thread(as_object_user, environment, "gourmetgram_api")
    variables["DATABASE_URL"] = url if as_owner else role_url(url, "gourmetgram_api")
    if version == 1:
        names = {name.upper() for name in ApiSettings.model_fields}
        app = create_v1(ApiSettings.load({k: v for k, v in variables.items() if k in names}))
    else:
        app = create_v2(ApiV2Settings.load(variables))
    database = await asyncpg.connect(owner_url(environment["DATABASE_URL"]))
    try:
        async with serve(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as http:
            api = Api(version, http, database, environment, app.state.services)
            yield api
            api.s3.close()
    finally:
        await database.close()


@asynccontextmanager
async def sweeper_of(environment: Mapping[str, str], age_s: float = ANY_AGE_S) -> AsyncIterator[OrphanSweeper]:
    """A sweeper as one more process would run it; not started."""
    names = {name.upper() for name in ApiSettings.model_fields}
    variables = await asyncio.to_thread(as_object_user, environment, "gourmetgram_api")
    settings = ApiSettings.load({name: value for name, value in variables.items() if name in names})
    database = Database(settings, "sweeper-test")
    await database.start()
    try:
        yield OrphanSweeper(database, ObjectStore(settings), age_s)
    finally:
        await database.stop()


def picture(format_name: str = "JPEG", size: tuple[int, int] = (64, 48), seed: int = 0) -> bytes:
    """A valid image file of random pixels."""
    pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(file, format_name)
    return file.getvalue()


def read_topic(bootstrap: str, topic: str) -> list[tuple[str | None, Any]]:
    """All messages of a topic: (key, JSON value), each partition in its order."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "broker.address.family": "v4", "log_level": 3}
    )
    messages = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        for number in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            consumer.assign([TopicPartition(topic, number, low)])
            position = low
            while position < high:
                message = consumer.poll(10)
                assert message is not None and message.error() is None, "the topic cannot be read"
                record, key = to_record(message), message.key()
                position = record.offset + 1
                messages.append((key.decode() if key else None, json.loads(record.value or b"")))
    finally:
        consumer.close()
    return messages
