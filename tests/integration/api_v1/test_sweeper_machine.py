"""The sweeper of orphans as a state machine on a real database and bucket: uploads and sweeps that stop at each step.

An upload is the route's own code. It waits at each of its steps, until a rule lets it go on or kills its process. A
sweep is interrupted before and after each of its calls.
"""

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from api_v1 import orphan_sweeper, statements
from api_v1.orphan_sweeper import OrphanSweeper
from api_v1.routes.uploads import NewPicture, _store
from api_v1.schemas import UploadIn
from api_v1.settings import ApiSettings
from api_v1.upload_form import UploadForm
from gourmetgram.buckets import OWNER_KEY, BucketMark
from gourmetgram.database.installation import COUNT_SWEEP, INSTALLATION
from gourmetgram.database.pool import Database
from gourmetgram.errors import TransientError
from gourmetgram.object_store import Listed, ObjectStore
from gourmetgram.picture_keys import image_id_of
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.databases import create_database, drop_database, owner_url
from tests.support.lakehouse_platform import Killed
from tests.support.machines import TIMEOUT_S, machine_settings

pytestmark = pytest.mark.servers

AGE_S: Final = 600.0
USER: Final = str(uuid.UUID(int=1, version=4))
ADD_IMAGES: Final = statements.add_images(statements.NO_EVENTS).sql
STATEMENTS: Final = {
    orphan_sweeper._WITHOUT_ROW: "compare",
    INSTALLATION: "identify",
    COUNT_SWEEP: "count",
    orphan_sweeper._ABANDONED: "confirm",
}
CALLS: Final = (
    "read the mark", "list", "compare", "identify", "count", "renew the mark", "abandon", "confirm", "remove",
)  # fmt: skip
POINTS: Final = [f"{call} {moment}" for call in CALLS for moment in ("begun", "done")]
OTHERS: Final = ("lost answer", "sweep", "begin", "go on", "go on twice", "kill", "delete")
_EMPTY: Final = """
TRUNCATE images, users, abandoned_uploads CASCADE;
UPDATE installation SET sweeps = 0;
"""


class Upload:
    """An upload in progress.

    Args:
        key: key of its picture.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.task: asyncio.Task[Any] | None = None
        self.connection: Any = None
        self.rowless = False
        self._arrived, self._go = asyncio.Event(), asyncio.Event()

    async def reach(self) -> None:
        """Wait at a step for the machine."""
        self._arrived.set()
        await self._go.wait()
        self._go.clear()

    async def go_on(self) -> None:
        """Let it go to its next step, or to its end."""
        self._arrived.clear()
        self._go.set()
        await self.arrive()

    async def arrive(self) -> None:
        """Wait until it is at a step, or at its end."""
        assert self.task is not None
        arrival = asyncio.create_task(self._arrived.wait())
        await asyncio.wait({arrival, self.task}, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()

    async def kill(self) -> None:
        """End its process: an open transaction is rolled back, and nothing is cleaned up."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task})
        self.rowless = False
        if self.connection is not None:
            await self.connection.close()


class SweeperMachine(RuleBasedStateMachine):
    """Uploads, deletions, clocks, sweeps of the bucket's database and of others. Subclasses name the stores.

    Attributes:
        clock: time of the store.
        skew: the sweepers' clock is later by it.
        stored_at: time of each picture that was put.
        answered: keys of uploads that were answered as stored.
    """

    environment: Mapping[str, str]
    foreign_url: str
    clock = datetime(2026, 5, 17, tzinfo=UTC)
    skew = timedelta(0)

    def __init__(self) -> None:
        super().__init__()
        type(self).skew = timedelta(0)
        self.runner = asyncio.Runner()
        self.stored_at: dict[str, datetime] = {}
        self.uploads: list[Upload] = []
        self.answered: set[str] = set()
        self._point: str | None = None
        self._act: Callable[[], Awaitable[object]] | None = None
        self._dead = False
        self._run(self._open())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def _open(self) -> None:
        names = {name.upper() for name in ApiSettings.model_fields}
        settings = ApiSettings.load({name: value for name, value in self.environment.items() if name in names})
        self.objects, self.database = ObjectStore(settings), Database(settings, "sweeper-machine")
        foreign = settings.model_copy(update={"database_url": self.foreign_url})
        self.foreign = Database(foreign, "sweeper-machine")
        for database in (self.database, self.foreign):
            await database.start()
        self.admin = await asyncpg.connect(owner_url(settings.database_url))
        self.foreign_admin = await asyncpg.connect(owner_url(self.foreign_url))
        await self.admin.execute(_EMPTY)
        await self.admin.execute("INSERT INTO users (id, username) VALUES ($1, 'somebody')", USER)
        await self.objects.remove([*await self._keys(), OWNER_KEY])
        await self._sweeper(self.database).sweep()

    def _sweeper(self, database: Database) -> OrphanSweeper:
        seen: Any = SimpleNamespace(fetch=self._fetch(database), execute=self._call("abandon", database.execute))
        objects: Any = SimpleNamespace(
            read=self._call("read the mark", self.objects.read),
            put=self._call("renew the mark", self.objects.put),
            remove=self._call("remove", self._remove),
            pages=self._pages,
        )
        return OrphanSweeper(seen, objects, AGE_S)

    # --- uploads -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.uploads) < 3)
    @rule()
    def begin(self) -> None:
        """Begin an upload."""
        self._run(self._begin())

    async def _begin(self) -> None:
        image_id = str(uuid.uuid4())
        upload = Upload(f"{image_id}.jpg")
        self.uploads.append(upload)
        form = UploadForm(UploadIn(user_id=USER), b"a picture")
        picture = NewPicture(image_id, upload.key, form.data, "image/jpeg")

        async def put(key: str, data: bytes, content_type: str) -> None:
            await upload.reach()
            await self.objects.put(key, data, content_type)
            self.stored_at[key] = self.clock
            await upload.reach()

        async def submit(_writer: object, row: Sequence[object], _deadline: float) -> Any:
            upload.connection = await asyncpg.connect(self.environment["DATABASE_URL"])
            transaction = upload.connection.transaction()
            await transaction.start()
            (record,) = await upload.connection.fetch(ADD_IMAGES, *([value] for value in row))
            await upload.reach()
            await transaction.commit()
            await upload.reach()
            return record

        async def finish(answer: object) -> object:
            return answer

        def discard(_key: str) -> None:
            upload.rowless = True

        objects = SimpleNamespace(put=put, url=self.objects.url, discard=discard)
        services: Any = SimpleNamespace(objects=objects, images=None)
        writes: Any = SimpleNamespace(submit=submit, finish=finish, in_doubt=False)
        upload.task = asyncio.create_task(_store(services, writes, form, picture, 1.0))
        await upload.arrive()

    @precondition(lambda self: self.uploads)
    @rule(which=st.integers(0, 2), steps=st.integers(1, 4))
    def go_on(self, which: int, steps: int) -> None:
        """Let an upload go on."""
        self._run(self._go_on(which, steps))

    async def _go_on(self, which: int, steps: int = 1) -> None:
        if not self.uploads:
            return
        upload = self.uploads[which % len(self.uploads)]
        assert upload.task is not None
        for _ in range(steps):
            if not upload.task.done():
                await upload.go_on()
        if upload.task.done():
            await self._end(upload)

    async def _end(self, upload: Upload) -> None:
        self.uploads.remove(upload)
        if upload.connection is not None:
            await upload.connection.close()
        assert upload.task is not None
        error = upload.task.exception()
        if error is None:
            self.answered.add(upload.key)
        else:
            assert isinstance(error, TransientError), error
            assert upload.rowless
            await self.objects.remove([upload.key])

    @precondition(lambda self: self.uploads)
    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        """Kill the process of an upload."""
        self._run(self._kill(which))

    async def _kill(self, which: int) -> None:
        if self.uploads:
            await self.uploads.pop(which % len(self.uploads)).kill()

    @rule()
    def delete(self) -> None:
        """Delete all images: their rows stay, and so do their pictures."""
        self._run(self._delete())

    async def _delete(self) -> None:
        await self.admin.execute("UPDATE images SET deleted_at = now() WHERE deleted_at IS NULL")

    # --- clocks ------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((100, 500, 700)))
    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        type(self).clock += timedelta(seconds=seconds)

    @rule(seconds=st.sampled_from((-650, 0, 550, 650)))
    def set_clock(self, seconds: int) -> None:
        """Set the sweepers' clock, apart from that of the store."""
        type(self).skew = timedelta(seconds=seconds)

    # --- sweeps ------------------------------------------------------------------------------------------------------

    @rule()
    def sweep(self) -> None:
        """Sweep, undisturbed; an upload that writes its row holds a sweep up."""
        self._run(self._sweep())

    async def _sweep(self) -> None:
        with suppress(TransientError):
            await self._sweeper(self.database).sweep()

    @rule(point=st.sampled_from(POINTS))
    def sweep_and_crash(self, point: str) -> None:
        """Kill a sweep at a point."""

        async def crash() -> None:
            self._dead = True
            raise Killed(point)

        self._run(self._sweep_beside(point, crash))

    @rule(point=st.sampled_from(POINTS), what=st.sampled_from(OTHERS), which=st.integers(0, 2))
    def sweep_beside(self, point: str, what: str, which: int) -> None:
        """Sweep, while something else happens at a point."""

        async def lose() -> None:
            raise TransientError("the answer was lost")

        actions: dict[str, Callable[[], Awaitable[object]]] = {
            "lost answer": lose,
            "sweep": self._sweep,
            "begin": self._begin,
            "go on": lambda: self._go_on(which),
            "go on twice": lambda: self._go_on(which, 2),
            "kill": lambda: self._kill(which),
            "delete": self._delete,
        }
        self._run(self._sweep_beside(point, actions[what]))

    async def _sweep_beside(self, point: str, act: Callable[[], Awaitable[object]]) -> None:
        self._point, self._act = point, act
        try:
            await self._sweep()
        except Killed:
            assert self._dead
        finally:
            self._point, self._act, self._dead = None, None, False

    @rule(restored=st.booleans())
    def sweep_of_another_database(self, restored: bool) -> None:
        """Sweep the bucket with the rows of a foreign database, or of this one as restored from a backup."""
        self._run(self._sweep_of_another(restored))

    async def _sweep_of_another(self, restored: bool) -> None:
        content = await self.objects.read(OWNER_KEY)
        assert content is not None
        mark = BucketMark.parse(content)
        own, sweeps = (mark.installation, mark.sweeps - 1) if restored else (str(uuid.uuid4()), 1_000)
        await self.foreign_admin.execute("UPDATE installation SET id = $1, sweeps = $2", own, sweeps)
        before = await self._keys()
        assert await self._sweeper(self.foreign).sweep() == 0
        assert await self._keys() == before

    async def _reach(self, point: str) -> None:
        if self._dead:
            raise Killed(point)
        if point == self._point and self._act is not None:
            act, self._act = self._act, None
            await act()

    def _call(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """A call that tells the machine before and after its work."""

        async def called(*arguments: Any) -> Any:
            await self._reach(f"{name} begun")
            answer = await call(*arguments)
            await self._reach(f"{name} done")
            return answer

        return called

    def _fetch(self, database: Database) -> Callable[..., Awaitable[Any]]:
        async def fetch(sql: str, *arguments: object) -> Any:
            return await self._call(STATEMENTS[sql], database.fetch)(sql, *arguments)

        return fetch

    async def _pages(self) -> AsyncGenerator[list[Listed], None]:
        await self._reach("list begun")
        async for page in self.objects.pages():
            yield [Listed(each.key, self.stored_at.get(each.key, self.clock)) for each in page]
        await self._reach("list done")

    async def _remove(self, keys: Sequence[str]) -> None:
        """Remove pictures, after a look at their age by the sweeper's clock."""
        latest = self.clock + self.skew - timedelta(seconds=AGE_S)
        assert all(self.stored_at[key] < latest for key in keys)
        await self.objects.remove(keys)

    # --- promises ----------------------------------------------------------------------------------------------------

    async def _keys(self) -> set[str]:
        return {each.key async for page in self.objects.pages() for each in page} - {OWNER_KEY}

    async def _rows(self) -> set[str]:
        return {f"{row['id']}.jpg" for row in await self.admin.fetch("SELECT id FROM images")}

    @invariant()
    def each_row_has_its_picture(self) -> None:
        """No picture of a stored row is gone, and each answered upload has both."""

        async def look() -> None:
            rows = await self._rows()
            assert rows <= await self._keys()
            assert self.answered <= rows

        self._run(look())

    def teardown(self) -> None:
        """Kill the uploads. Once they are old enough, all pictures without a row go, and no other."""
        try:
            while self.uploads:
                self.kill(0)
            self.set_clock(0)
            self.pass_time(700)
            self._run(self._last_sweep())
        finally:
            self._run(self._close())
            self.runner.close()

    async def _last_sweep(self) -> None:
        await self._sweeper(self.database).sweep()
        rows = await self._rows()
        assert await self._keys() == rows
        assert self.answered <= rows
        assert all(image_id_of(key) for key in itertools.chain(rows, self.answered))

    async def _close(self) -> None:
        for upload in self.uploads:
            await upload.kill()
        for database in (self.database, self.foreign):
            await database.stop()
        for connection in (self.admin, self.foreign_admin):
            connection.terminate()


@pytest.mark.timeout(TIMEOUT_S)
def test_no_order_of_uploads_crashes_and_sweeps_removes_the_picture_of_a_row(
    database_url: str,
    s3_environment: dict[str, str],
    stack: Stack,
    unique_name: UniqueName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = unique_name("foreign")

    class Machine(SweeperMachine):
        environment: Mapping[str, str] = {"DATABASE_URL": database_url, **s3_environment}
        foreign_url = create_database(stack, other)

    monkeypatch.setattr(orphan_sweeper, "LOCK_WAIT_MS", 20)
    monkeypatch.setattr(orphan_sweeper, "datetime", SimpleNamespace(now=lambda _zone: Machine.clock + Machine.skew))
    run_state_machine_as_test(Machine, settings=machine_settings(examples=30, steps=20))
    drop_database(stack, other)
