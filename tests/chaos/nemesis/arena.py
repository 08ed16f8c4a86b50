"""Arena: the stack under the nemesis, with a disk and a copy of Redis of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.settings import PostgresSettings
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.local.stack import Stack
from tests.chaos.nemesis.clocks import Clocks
from tests.chaos.nemesis.copies import DiskCopy
from tests.chaos.nemesis.lake import event_files
from tests.chaos.nemesis.links import Links, links_of, route
from tests.chaos.nemesis.losses import Losses, read_contents
from tests.chaos.nemesis.ways_out import event_partitions
from tests.support.own_stack import own_stack
from tests.support.waiting import wait_until

SERVERS: Final = ("postgres", "redis", "kafka", "minio")
SERVICES: Final = ("api_v2", "stream_consumer", "risk_scoring_service")
PARTS: Final = (*SERVERS, *SERVICES)
_DISK_BYTES: Final = 3 * 2**30
_LAST_BYTES: Final = 2**20
_COPY_AGE_S: Final = 120.0
"""Age at which the copies of PostgreSQL and Kafka are made anew: a set-back takes a few rounds away."""
_CLIENTS_GONE_S: Final = 60.0
_CLIENTS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid != pg_backend_pid()"
)


class Arena:
    """A stack with all services, and what the faults need beside it.

    Args:
        stack: the stack, which belongs to the nemesis alone.
        links: the network between the services and their servers.
        clocks: the clocks of the services.
        disk: mount point of a small file system with the data of Redis, Kafka and MinIO; None without one.
        copies: folder for copies of the servers' files.
    """

    def __init__(self, stack: Stack, links: Links, clocks: Clocks, disk: Path | None, copies: Path) -> None:
        self.stack = stack
        self.links = links
        self.clocks = clocks
        self.losses = Losses()
        self.cut_since: datetime | None = None
        """Time from which the log has lost events; None when nothing is to be published again."""
        self._disk = disk
        self._redis = DiskCopy(stack, "redis", copies, lambda: [stack.folder / "redis"])
        self._postgres = DiskCopy(stack, "postgres", copies, lambda: [stack.postgres.data])
        self._kafka = DiskCopy(stack, "kafka", copies, self._event_logs)
        self._copies = (self._redis, self._postgres, self._kafka)

    def has_disk(self) -> bool:
        """True when there is a small disk."""
        return self._disk is not None

    def has_clocks(self) -> bool:
        """True when the clocks of the services can be set."""
        return self.clocks.possible

    def impossible(self) -> list[str]:
        """Sentences about faults that this machine does not allow."""
        found = []
        if not self.has_disk():
            found.append("fill, because only root can make a small file system")
        if not self.has_clocks():
            found.append("clock ahead and clock behind, because there is no C compiler (cc)")
        return found

    def has_copies(self) -> bool:
        """True when the servers were copied before."""
        return all(copy.exists() for copy in self._copies)

    def copy_servers(self) -> None:
        """Copy the files of Redis after each round, those of PostgreSQL and Kafka every few minutes."""
        self._redis.make()
        for copy in (self._postgres, self._kafka):
            if copy.is_older_than(_COPY_AGE_S):
                copy.make()

    def restore_redis(self) -> None:
        """Start Redis with the files of the last copy: all that it got since is lost."""
        self.stack.stop("redis")
        self._redis.put_back()
        self.stack.start("redis")

    def restore_postgres(self) -> None:
        """Start PostgreSQL with the files of a few minutes ago. Until `heal`, no service reaches it."""
        engine = create_worker_engine(PostgresSettings(database_url=self.stack.postgres.url()), "nemesis-restore")
        self.losses.files = event_files(platform_of(self.stack).iceberg)
        self.links.cut("postgres")
        wait_until(lambda: _clients(engine) == 0, _CLIENTS_GONE_S, "the end of all transactions")
        before = read_contents(engine)
        engine.dispose()
        self.stack.stop("postgres")
        self._postgres.put_back()
        self.stack.start("postgres")
        self.losses.note_restore(before, read_contents(engine))
        engine.dispose()
        self._forget_copies()

    def set_log_back(self) -> None:
        """Start Kafka with the events' logs of a few minutes ago; requests, dead letters and groups stay."""
        self.stack.stop("kafka")
        self._kafka.put_back()
        # The broker examines its logs, as after a crash.
        (self.stack.folder / "kafka" / "data" / ".kafka_cleanshutdown").unlink(missing_ok=True)
        engine = create_worker_engine(PostgresSettings(database_url=self.stack.postgres.url()), "nemesis-cut")
        self.losses.note_cut(read_contents(engine).rows.views)
        engine.dispose()
        self.cut_since = self._kafka.made_at
        self.stack.start("kafka")
        self._forget_copies()

    def _forget_copies(self) -> None:
        """Remove the copies that are older than a loss: the next ones belong to what was left."""
        self._postgres.drop()
        self._kafka.drop()

    def _event_logs(self) -> list[Path]:
        data = self.stack.folder / "kafka" / "data"
        return [data / f"{partition.topic}-{partition.number}" for partition in event_partitions()]

    def fill_disk(self) -> None:
        """Leave no free byte on the small disk."""
        if self._disk is None:
            return
        with self._filler(self._disk).open("wb", buffering=0) as file, suppress(OSError):
            # All at once as far as possible; others write meanwhile, so the rest is written to the last byte.
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(self._disk).free - _LAST_BYTES))
            file.seek(0, os.SEEK_END)
            while file.write(bytes(4096)):
                pass

    def heal(self) -> None:
        """Take all faults back, and wait until every part is healthy."""
        if self._disk is not None:
            self._filler(self._disk).unlink(missing_ok=True)
        self.links.heal()
        self.clocks.heal()
        for status in self.stack.status():
            if status.state == "PAUSED":
                self.stack.resume(status.name)
        for part in PARTS:
            self.stack.start(part)

    @staticmethod
    def _filler(disk: Path) -> Path:
        return disk / "filler"


def _clients(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(_CLIENTS)).scalar_one())


@contextmanager
def arena(name: str) -> Iterator[Arena]:
    """A running arena; everything is removed in the end.

    Root gets a small disk, others go without. The clocks need a C compiler.
    """
    home = Stack(name).folder.parent / f"{name}-disk" if os.geteuid() == 0 else None
    with (
        _small_disk(home),
        own_stack(name, home) as stack,
        tempfile.TemporaryDirectory(prefix="nemesis-") as folder,
        links_of(stack).running() as links,
    ):
        clocks_folder, copies = Path(folder) / "clocks", Path(folder) / "copies"
        clocks_folder.mkdir()
        copies.mkdir()
        clocks = Clocks(clocks_folder, SERVICES)
        route(stack, links)
        for variable, value in clocks.variables().items():
            stack.override(variable, value)
        stack.up(SERVICES)
        yield Arena(stack, links, clocks, home, copies)


@contextmanager
def _small_disk(mount_point: Path | None) -> Iterator[None]:
    if mount_point is None:
        yield
        return
    image = mount_point.with_suffix(".ext4")
    _unmount(mount_point)  # of a run that was killed
    mount_point.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=True)
    try:
        yield
    finally:
        _unmount(mount_point)
        mount_point.rmdir()
        image.unlink()


def _unmount(mount_point: Path) -> None:
    if mount_point.is_mount():
        subprocess.run(["umount", str(mount_point)], check=True)
