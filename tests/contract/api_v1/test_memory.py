"""The memory of an API process, whatever is uploaded: a process of its own on real servers."""

import asyncio
import io
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from gourmetgram.settings import PROJECT_ROOT
from tests.support.api import NOBODY, picture
from tests.support.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.servers

MB = 1024 * 1024
BUDGETS = {"DECODING_BUDGET_BYTES": str(100 * MB), "UPLOAD_BUDGET_BYTES": str(20 * MB)}


def empty(format_name: str, side: int, **options: object) -> bytes:
    """A picture of one colour: a small file of many pixels."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, format_name, **options)
    return file.getvalue()


class Process:
    """A served API, and the most memory it has ever had."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=200))
        self._process = process

    @property
    def memory(self) -> int:
        return int(self._process.memory_info().rss)

    async def growth(self, user_id: str, files: list[bytes]) -> tuple[Counter[int], int]:
        """Upload files at once; returns the statuses, and by how much the memory had grown at most."""
        before, most = self.memory, 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, self.memory - before)
                assert (await self.http.get("/health")).status_code == 200
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(self.upload(user_id, data) for data in files))
        watching.cancel()
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
        return Counter(answer.status_code for answer in answers), most

    async def upload(self, user_id: str, data: bytes) -> httpx.Response:
        return await self.http.post("/upload/", data={"user_id": user_id}, files={"file": ("x", data)})

    async def user(self) -> str:
        return str((await self.http.post("/users/", json={"username": uuid.uuid4().hex})).json()["id"])


@pytest.fixture
def served(api_environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Version 1 in a process of its own, with small budgets: its address and its number."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "uvicorn", "api_v1.main:app", "--host", "127.0.0.1", "--port", "0"]
    environment = {**os.environ, **api_environment, **BUDGETS}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=output) as popen,
    ):
        try:
            found = wait_until(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), 60.0, "the API's start")
            yield found[0], popen.pid
        finally:
            popen.terminate()


@pytest.fixture
async def process(served: tuple[str, int]) -> AsyncIterator[Process]:
    """The process, after its first pictures: what is loaded with them is no growth."""
    url, number = served
    running = Process(url, psutil.Process(number))
    user_id = await running.user()
    for format_name in ("JPEG", "PNG", "WEBP"):
        assert (await running.upload(user_id, picture(format_name))).status_code == 200
    yield running
    await running.http.aclose()


async def test_small_files_of_many_pixels_are_refused_from_their_headers(process: Process) -> None:
    bombs = [
        *[empty("WEBP", 7_000, lossless=True)] * 4,
        *[empty("WEBP", 7_000, quality=10)] * 2,
        *[empty("PNG", 7_000)] * 4,
        *[empty("JPEG", 7_000, progressive=True)] * 4,
    ]
    statuses, growth = await process.growth(await process.user(), bombs)
    assert statuses == {415: len(bombs)}
    assert growth < 20 * MB


async def test_nothing_is_decoded_for_an_unknown_user(process: Process) -> None:
    statuses, growth = await process.growth(NOBODY, [empty("WEBP", 2_400, lossless=True)] * 8)
    assert statuses == {404: 8}
    assert growth < 20 * MB


async def test_large_pictures_at_the_same_time_stay_within_the_budget(process: Process) -> None:
    # 98 MB each: one after the other.
    statuses, growth = await process.growth(await process.user(), [empty("WEBP", 2_400, lossless=True)] * 12)
    assert statuses.keys() <= {200, 503}
    assert statuses[200] >= 1
    assert growth < 130 * MB


async def test_uploads_that_stall_take_no_more_than_their_budget_and_views_go_on(process: Process) -> None:
    user_id = await process.user()
    url, before = process.http.base_url, process.memory
    connections = [await asyncio.open_connection(url.host, url.port) for _ in range(50)]
    head = (
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 10400000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )
    held = 0

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head + bytes(10_380_000))
        return await reader.readline()

    async def refused() -> bool:
        nonlocal held
        held = max(held, _spooled(process._process))
        return sum(task.done() for task in stalls) >= 48

    stalls = [asyncio.create_task(stall(*connection)) for connection in connections]
    try:
        await wait_until_async(refused, 30.0, "refusals")
        assert {task.result().split()[1] for task in stalls if task.done()} == {b"503"}
        assert process.memory + held - before < 60 * MB
        # A small picture still has room beside them.
        answer = await process.upload(user_id, picture())
        assert answer.status_code == 200, answer.text
    finally:
        for task in stalls:
            task.cancel()
        for _, writer in connections:
            writer.close()


async def test_clients_that_stall_or_trickle_keep_no_other_upload_out(process: Process) -> None:
    """Two of them fill the budget; whoever means harm sends most of a file first, or a byte now and then."""
    user_id = await process.user()
    url = process.http.base_url
    connections = [await asyncio.open_connection(url.host, url.port) for _ in range(4)]
    head = (
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 10400000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )

    async def trickle(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    for (_, writer), sent in zip(connections, (9_000_000, 0, 9_000_000, 0), strict=True):
        writer.write(head + bytes(sent))
    trickles = [asyncio.create_task(trickle(writer)) for _, writer in connections]
    picture_of_9_mb = picture() + bytes(9 * MB)  # bytes behind a JPEG's end are allowed
    try:
        for _ in range(3):

            async def stored() -> bool:
                status = (await process.upload(user_id, picture_of_9_mb)).status_code
                assert status in (200, 503)
                return status == 200

            # A few refusals are allowed while the first second of the stalls is not over; then there is room.
            await wait_until_async(stored, 20.0, "an upload beside those that stall")
    finally:
        for task in trickles:
            task.cancel()
        for _, writer in connections:
            writer.close()


def _spooled(process: psutil.Process) -> int:
    """Bytes in temporary files of a process; in a container they lie in its memory."""
    folder = Path(f"/proc/{process.pid}/fd")
    total = 0
    for number in folder.iterdir():
        try:
            if "/tmp/" in str(number.readlink()):  # noqa: S108 - only looked at
                total += number.stat().st_size
        except FileNotFoundError:
            continue
    return total
