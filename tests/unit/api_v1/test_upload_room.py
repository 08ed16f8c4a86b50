"""The room for uploads: one that stalls makes room, one that arrives keeps its place."""

import asyncio
from collections.abc import Awaitable

import pytest
from starlette.types import Message

from api_v1 import upload_room
from api_v1.upload_room import LEAST_RATE, Reading, UploadRoom
from gourmetgram.errors import TransientError
from tests.support.waiting import wait_until_async

SIZE = 10
LONG_S = 60.0


@pytest.fixture(autouse=True)
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one, so that stalls are seen soon."""
    monkeypatch.setattr(upload_room, "GRACE_S", 0.05)


class Upload:
    """An upload that is admitted and then read until a test lets it end.

    Attributes:
        task: ends with the upload; raises what the client is told.
        admitted: set when the upload has its room.
        body: pieces that arrive.
    """

    def __init__(self, room: UploadRoom, size: int = SIZE) -> None:
        self.admitted = asyncio.Event()
        self.body: asyncio.Queue[bytes] = asyncio.Queue()
        self.reading: Reading | None = None
        self.task = asyncio.create_task(self._run(room, size))

    async def _receive(self) -> Message:
        piece = await self.body.get()
        return {"type": "http.request", "body": piece, "more_body": True}

    async def _run(self, room: UploadRoom, size: int) -> None:
        async with room.admit(size) as self.reading:
            self.admitted.set()
            async with self.reading.within(LONG_S):
                receive = self.reading.counted(self._receive)
                while (await receive())["body"]:
                    pass

    async def ends(self) -> BaseException | None:
        """The error with which it ends, None without one."""
        self.body.put_nowait(b"")
        (error,) = await asyncio.gather(self.task, return_exceptions=True)
        return error


async def admitted(*uploads: Upload) -> None:
    """Wait until the uploads have their room."""
    waits: list[Awaitable[object]] = [upload.admitted.wait() for upload in uploads]
    await asyncio.wait_for(asyncio.gather(*waits), 10)


async def test_stalled_uploads_that_fill_the_room_are_cut_for_one_that_needs_it_and_no_more_than_that() -> None:
    room = UploadRoom(2 * SIZE)
    stalled = [Upload(room), Upload(room)]
    await admitted(*stalled)
    fresh = Upload(room)
    await admitted(fresh)
    assert sum(upload.task.done() for upload in stalled) == 1
    (error,) = [upload.task.exception() for upload in stalled if upload.task.done()]
    assert isinstance(error, TransientError)
    assert await fresh.ends() is None
    (left,) = [upload for upload in stalled if not upload.task.done()]
    assert await left.ends() is None


async def test_a_stalled_upload_keeps_its_place_while_there_is_room() -> None:
    room = UploadRoom(2 * SIZE)
    stalled = Upload(room)
    await admitted(stalled)

    async def slow() -> bool:
        return stalled.reading is not None and stalled.reading.slow()

    await wait_until_async(slow, what="a slow upload")
    others = [Upload(room) for _ in range(1)]
    await admitted(*others)
    assert await others[0].ends() is None
    assert await stalled.ends() is None


async def test_an_upload_that_arrives_keeps_its_place_and_the_one_that_waits_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api_v1.budget.WAIT_S", 0.2)
    monkeypatch.setattr(upload_room, "GRACE_S", LONG_S)
    room = UploadRoom(SIZE)
    steady = Upload(room)
    await admitted(steady)
    refused = Upload(room)
    assert isinstance(await refused.ends(), TransientError)
    assert await steady.ends() is None


async def test_bytes_earn_time_up_to_the_grace_and_a_trickle_earns_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(upload_room, "now", lambda: clock)
    monkeypatch.setattr(upload_room, "GRACE_S", 1.0)
    reading = Reading()
    pieces = iter([b"x" * (LEAST_RATE // 4), b"x" * (20 * LEAST_RATE), b"x"])

    async def receive() -> Message:
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    counted = reading.counted(receive)
    assert reading.in_time_until == 101.0
    clock = 100.9
    await counted()
    assert reading.in_time_until == pytest.approx(101.25)
    await counted()
    assert reading.in_time_until == pytest.approx(101.9)
    clock = 105.0
    await counted()
    assert reading.in_time_until == pytest.approx(105.0, abs=0.001)


async def test_a_body_that_takes_too_long_is_no_cut() -> None:
    reading = Reading()
    with pytest.raises(TimeoutError):
        async with reading.within(0.01):
            await asyncio.Event().wait()
    reading.cut()
    assert not reading.slow()
