"""Debian packages through the machine's own apt sources; no address of a package registry stands in this repository."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import shell
from tests.lab.errors import RehearsalError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    """The archive that the machine installs Debian from.

    Attributes:
        mirror: its URL.
        suite: the release's code name, e.g. bookworm.
    """

    mirror: str
    suite: str


def main_source() -> Source:
    """The first apt source of a whole release (not of its updates).

    Raises:
        RehearsalError: this is no Debian, or apt has no such source.
    """
    for source in _sources():
        if "-" not in source.suite:
            return source
    raise RehearsalError("apt's sources name no Debian release: check /etc/apt/sources.list.d, then `apt-get update`.")


def source_lines() -> list[str]:
    """Lines of a sources.list with the machine's Debian sources: the release, its updates, its security fixes."""
    return [f"deb [signed-by={KEYRING}] {source.mirror} {source.suite} main" for source in _sources()]


def _sources() -> list[Source]:
    if shutil.which("apt-get") is None:
        raise RehearsalError(
            "The rehearsal builds its images from Debian packages: it needs a Debian machine with apt."
        )
    fields = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
    listing = shell.check(["apt-get", "indextargets", "--format", fields, "Created-By: Packages", "Origin: Debian"])
    lines = [line.split("|") for line in listing.splitlines()]
    return [Source(site, suite) for site, suite, component, _origin in lines if component == "main"]


def install(*packages: str) -> None:
    """Install packages that are absent, without what they merely recommend.

    Raises:
        RehearsalError: the caller is not root, or apt failed.
    """
    if os.geteuid() != 0:
        raise RehearsalError(f"Installing {', '.join(packages)} needs root: run the rehearsal as root, or with sudo.")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    shell.check(["apt-get", "update", "-qq"], timeout=300, environment=quiet)
    shell.check(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], timeout=900, environment=quiet
    )


def extract_from_release(suite: str, package: str, member: str, target: Path) -> None:
    """Take one file out of a package of another Debian release, without installing anything.

    Args:
        suite: code name of the release.
        package: name of the package.
        member: path of the file inside it.
        target: where to put the file; it appears only when complete.

    Raises:
        RehearsalError: the package or its file cannot be had.
    """
    source = main_source()
    with tempfile.TemporaryDirectory(prefix="gourmetgram-apt-") as name:
        folder = Path(name)
        listing = folder / "release.list"
        listing.write_text(f"deb [signed-by={KEYRING}] {source.mirror} {suite} main\n", encoding="utf-8")
        options = _separate_apt(folder, listing)
        shell.check(["apt-get", *options, "update", "-qq"], timeout=300)
        shell.check(["apt-get", *options, "download", "-qq", package], timeout=300, folder=folder)
        (archive,) = folder.glob(f"{package}_*.deb")
        shell.check(["dpkg-deb", "-x", archive, folder / "content"])
        file = folder / "content" / member
        if not file.exists():
            raise RehearsalError(f"The package {package} of {suite} has no {member}.")
        fresh = target.with_name(target.name + ".new")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, fresh)
        fresh.replace(target)


def _separate_apt(folder: Path, listing: Path) -> list[str]:
    """Options with which apt neither reads nor writes the machine's own lists."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    settings = {
        "Dir::Etc::SourceList": listing,
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
