"""Arena: the stack under the nemesis, with a disk and a copy of Redis of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gourmetgram_tools.local.stack import Stack
from tests.chaos.nemesis.links import Links, links_of, route
from tests.support.own_stack import own_stack

SERVERS: Final = ("postgres", "redis", "kafka", "minio")
SERVICES: Final = ("api_v2", "stream_consumer", "risk_scoring_service")
PARTS: Final = (*SERVERS, *SERVICES)
_DISK_BYTES: Final = 3 * 2**30
_LAST_BYTES: Final = 2**20


class Arena:
    """A stack with all services, and what the faults need beside it.

    Args:
        stack: the stack, which belongs to the nemesis alone.
        links: the network between the services and their servers.
        disk: mount point of a small file system with the data of Redis, Kafka and MinIO; None without one.
    """

    def __init__(self, stack: Stack, links: Links, disk: Path | None) -> None:
        self.stack = stack
        self.links = links
        self._disk = disk
        self._redis = stack.folder / "redis"
        self._copy = stack.folder / "redis-copy"

    def has_disk(self) -> bool:
        """True when there is a small disk."""
        return self._disk is not None

    def has_copy(self) -> bool:
        """True when Redis was copied before."""
        return self._copy.exists()

    def copy_redis(self) -> None:
        """Copy the files of Redis, as a backup of a running server would find them."""
        shutil.rmtree(self._copy, ignore_errors=True)
        self.stack.pause("redis")
        try:
            shutil.copytree(self._redis, self._copy)
        finally:
            self.stack.resume("redis")

    def restore_redis(self) -> None:
        """Start Redis with the files of the last copy: all that it got since is lost."""
        self.stack.stop("redis")
        shutil.rmtree(self._redis)
        shutil.copytree(self._copy, self._redis)
        self.stack.start("redis")

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
        for status in self.stack.status():
            if status.state == "PAUSED":
                self.stack.resume(status.name)
        for part in PARTS:
            self.stack.start(part)

    @staticmethod
    def _filler(disk: Path) -> Path:
        return disk / "filler"


@contextmanager
def arena(name: str) -> Iterator[Arena]:
    """A running arena; everything is removed in the end. Root gets a small disk, others go without."""
    home = Stack(name).folder.parent / f"{name}-disk" if os.geteuid() == 0 else None
    with _small_disk(home), own_stack(name, home) as stack:
        links = links_of(stack)
        with links.running():
            route(stack, links)
            stack.up(SERVICES)
            yield Arena(stack, links, home)


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
