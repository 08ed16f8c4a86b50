"""Debian packages through the machine's own apt sources; the repository names no package registry."""

import os
import shutil
import tempfile
from pathlib import Path

from tests.lab.commands import check
from tests.lab.expectations import RehearsalError

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def need_root(action: str) -> None:
    """Raise RehearsalError unless the caller is root; `action` begins the sentence."""
    if os.geteuid() != 0:
        raise RehearsalError(f"{action} needs root: run the rehearsal as root, or with sudo.")


def main_source() -> tuple[str, str]:
    """Mirror and suite of the machine's Debian release, without its updates.

    Raises:
        RehearsalError: this is no Debian, or apt has no such source.
    """
    for mirror, suite in _sources():
        if "-" not in suite:
            return mirror, suite
    raise RehearsalError("apt's sources name no Debian release: check /etc/apt/sources.list.d, then `apt-get update`.")


def source_lines() -> str:
    """Content of a sources.list with the machine's Debian sources: release, updates, security fixes."""
    return "".join(_source_line(mirror, suite) for mirror, suite in _sources())


def _source_line(mirror: str, suite: str) -> str:
    return f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n"


def _sources() -> list[tuple[str, str]]:
    if shutil.which("apt-get") is None:
        raise RehearsalError("The rehearsal builds its images from Debian packages: it needs Debian with apt.")
    fields = "$(SITE)|$(RELEASE)|$(COMPONENT)"
    listing = check("apt-get", "indextargets", "--format", fields, "Created-By: Packages", "Origin: Debian")
    lines = [line.split("|") for line in listing.splitlines()]
    return [(mirror, suite) for mirror, suite, component in lines if component == "main"]


def install(*packages: str) -> None:
    """Install packages without the ones that they recommend.

    Raises:
        RehearsalError: the caller is not root, or apt failed.
    """
    need_root(f"Installing {', '.join(packages)}")
    check("apt-get", "update", "-qq", timeout=300, environment=_QUIET)
    words = ("install", "-y", "-qq", "--no-install-recommends", *packages)
    check("apt-get", *words, timeout=900, environment=_QUIET)


def extract_from_release(suite: str, package: str, member: str, target: Path) -> None:
    """Copy one file out of a package of another Debian release; nothing is installed.

    Args:
        suite: code name of the release.
        package: name of the package.
        member: path of the file inside it.
        target: path of the copy; it appears only when complete.

    Raises:
        RehearsalError: the caller is not root, or the package is not available.
    """
    need_root(f"Installing {package}")
    with tempfile.TemporaryDirectory(prefix="gourmetgram-apt-") as name:
        folder = Path(name)
        (folder / "release.list").write_text(_source_line(main_source()[0], suite), encoding="utf-8")
        options = _separate_apt(folder)
        check("apt-get", *options, "update", "-qq", timeout=300)
        check("apt-get", *options, "download", "-qq", package, timeout=300, folder=folder)
        (archive,) = folder.glob(f"{package}_*.deb")
        check("dpkg-deb", "-x", archive, folder / "content")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.new")
        shutil.copy2(folder / "content" / member, fresh)
        fresh.replace(target)


def _separate_apt(folder: Path) -> list[str]:
    """Options with which apt neither reads nor writes the machine's own lists."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    settings = {
        "Dir::Etc::SourceList": folder / "release.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
