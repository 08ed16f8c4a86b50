"""Stores and writers that the routes use, built once per application."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from fastapi import Request
from pydantic import BaseModel

from api_v1 import statements
from api_v1.budget import ByteBudget
from api_v1.keyed_writes import KeyedWriter, KeyPruner, SharedWrites
from api_v1.memory import return_large_blocks
from api_v1.orphan_sweeper import OrphanSweeper
from api_v1.row_retention import RowRetention
from api_v1.schema_watch import SchemaWatch
from api_v1.schemas import Health
from api_v1.settings import ApiSettings
from api_v1.statements import NO_EVENTS, EventSql
from api_v1.upload_form import FORM_OVERHEAD_BYTES
from api_v1.upload_room import UploadRoom
from gourmetgram.database.group_commit import GroupCommit, Statement
from gourmetgram.database.pool import Database, deadline_after, now
from gourmetgram.object_store import ObjectStore

_DECODING_THREADS = 2
"""Decoding is processor work: more threads than cores only cost memory."""

STOP_S: Final = 1.5
"""Longest wait for what can still be finished at a stop, seconds. Before it, the server waits 2 s for requests in
progress; after it, a probe of the broker may take 1 s. A container has 5 s in all."""


class Background(Protocol):
    """A service beside the requests."""

    async def start(self) -> None:
        """Begin, without waiting for any server."""

    async def stop(self, timeout_s: float) -> None:
        """Finish what can be finished within the time-out, then end."""


@dataclass(frozen=True)
class Extension:
    """Additions of a later version of the API. The defaults add nothing.

    Attributes:
        event_sql: writes events in the transactions of the rows.
        on_commit: called after each commit.
        background: run from start to stop, and stopped after the writers.
        health: body of `/health`; must answer from memory.
        health_model: its documentation.
        checks: further conditions of `/ready`; must answer from memory.
    """

    event_sql: EventSql = NO_EVENTS
    on_commit: Callable[[], None] = lambda: None
    background: tuple[Background, ...] = ()
    health: Callable[[], Mapping[str, object]] = lambda: {"status": "healthy"}
    health_model: type[BaseModel] = Health
    checks: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


class Services:
    """Stores, writers and threads of one application.

    Args:
        settings: addresses of the stores, and limits.
        database: the application database.
        extension: additions of the version.
    """

    def __init__(self, settings: ApiSettings, database: Database, extension: Extension) -> None:
        self.settings = settings
        self.database = database
        self.extension = extension
        self.objects = ObjectStore(settings)
        # A memory budget holds only if freed memory goes back to the system.
        return_large_blocks()
        self.decoding = ThreadPoolExecutor(_DECODING_THREADS, thread_name_prefix="decode")
        self.decoding_budget = ByteBudget("decoding", settings.decoding_budget_bytes)
        # One upload of the largest size always fits.
        largest = settings.max_upload_bytes + FORM_OVERHEAD_BYTES
        self.upload_room = UploadRoom(max(settings.upload_budget_bytes, largest))
        self.known_users: set[str] = set()
        """Ids of users that were found once (routes/users.py)."""
        events = extension.event_sql

        def writer(kind: str, statement: Statement) -> GroupCommit:
            return GroupCommit(database, kind, statement, extension.on_commit)

        self.schema = SchemaWatch(database)
        self.sweeper = OrphanSweeper(database, self.objects, settings.orphan_after_seconds)
        self.retention = RowRetention(database, settings.moderation_retention_days)
        self.users = writer("users", statements.ADD_USERS)
        self.images = writer("images", statements.add_images(events))
        self.views = writer("views", statements.count_views(events))
        self.comments = writer("comments", statements.add_comments(events))
        self.flags = writer("flags", statements.add_flags(events))
        self.shared_writes = SharedWrites(database)
        self.keyed_writer = KeyedWriter(Database(settings, "api_keyed"), extension.on_commit)
        self.key_pruner = KeyPruner(database)

    @property
    def _writers(self) -> tuple[GroupCommit, ...]:
        return (self.users, self.images, self.views, self.comments, self.flags)

    @property
    def _background(self) -> tuple[Background, ...]:
        own = (self.keyed_writer, self.key_pruner, self.schema, self.sweeper, self.retention)
        return (*own, *self.extension.background)

    async def start(self) -> None:
        """Start to serve; no store needs to be available yet."""
        await self.database.start()
        for part in (*self._writers, *self._background):
            await part.start()

    async def stop(self) -> None:
        """Write what was accepted, then close everything."""
        deadline = deadline_after(STOP_S)
        await asyncio.gather(*(writer.stop(STOP_S) for writer in self._writers))
        left_s = max(0.0, deadline - now())
        await asyncio.gather(self.objects.stop(left_s), *(part.stop(left_s) for part in self._background))
        await self.database.stop()
        self.decoding.shutdown(wait=False, cancel_futures=True)


def services_of(request: Request) -> Services:
    """The services of the application that received the request."""
    return cast(Services, request.app.state.services)
