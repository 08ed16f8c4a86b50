"""Checks of memory, disk and clock of the machine."""

import shutil
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from gourmetgram_tools.doctor.findings import Finding, ok, problem, warning
from gourmetgram_tools.programs import ask

_GB: Final = 1e9
_SMALLEST_MEMORY_GB: Final = 7.5
_FITTING_MEMORY_GB: Final = 15.0
_SMALLEST_DISK_GB: Final = 5.0
_FITTING_DISK_GB: Final = 25.0
_CLOCK_TOLERANCE_S: Final = 5.0
_SET_CLOCK: Final = "Switch time synchronisation on with `sudo timedatectl set-ntp true`, and look again in a minute."


def check_memory(total_bytes: float | None = None) -> Finding:
    """Check the memory against the 16 GB for which the lab was sized.

    Args:
        total_bytes: memory of the machine; None = read from the machine.
    """
    total_gb = (psutil.virtual_memory().total if total_bytes is None else total_bytes) / _GB
    if total_gb < _SMALLEST_MEMORY_GB:
        return problem(
            "Memory",
            f"{total_gb:.1f} GB: containers of stage 5 would be killed.",
            "Use a machine with 16 GB (m1.xlarge).",
        )
    if total_gb < _FITTING_MEMORY_GB:
        return warning(
            "Memory",
            f"{total_gb:.1f} GB are enough for one stage at a time, not for everything at once.",
            "Use a machine with 16 GB, or stop what a stage does not need with `docker compose stop`.",
        )
    return ok("Memory", f"{total_gb:.1f} GB.")


def check_disk(folder: Path | None = None, free_bytes: float | None = None) -> Finding:
    """Check the free space for images, volumes and the data set in Docker's folder.

    Args:
        folder: Docker's data folder; None = as Docker reports it.
        free_bytes: free space in it; None = read from the disk.
    """
    place = folder or _docker_root()
    free_gb = (shutil.disk_usage(place).free if free_bytes is None else free_bytes) / _GB
    seen = f"{free_gb:.0f} GB free in {place}"
    advice = "Make room, for example with `docker system prune` (it deletes what no container uses)."
    if free_gb < _SMALLEST_DISK_GB:
        return problem("Disk", f"{seen}: images and data do not fit.", advice)
    if free_gb < _FITTING_DISK_GB:
        return warning("Disk", f"{seen}: enough for some stages; everything needs about 25 GB.", advice)
    return ok("Disk", f"{seen}.")


def _docker_root() -> Path:
    answer = ask("docker", "info", "--format", "{{.DockerRootDir}}")
    root = Path(answer.output) if answer is not None and answer.succeeded and answer.output else Path("/var/lib/docker")
    # The folder may be unreadable for this user, or not exist before Docker runs.
    while not _can_be_asked(root):
        root = root.parent
    return root


def _can_be_asked(folder: Path) -> bool:
    try:
        shutil.disk_usage(folder)
    except OSError:
        return False
    return True


def check_clock(checkout: Path, service_url: str, now: float | None = None) -> Finding:
    """Check the clock: events from the future become dead letters, and windows count by time.

    Without a network there is no time server, but three observations show a wrong clock.

    Args:
        checkout: repository, whose files cannot be newer than now.
        service_url: page of a container, whose clock must agree (in a virtual machine that slept it does not).
        now: Unix seconds; None = the machine's clock.
    """
    moment = time.time() if now is None else now
    newest = max(path.stat().st_mtime for path in (checkout / "pyproject.toml", checkout / "docker"))
    if moment < newest - _CLOCK_TOLERANCE_S:
        behind = (newest - moment) / 3600
        return problem(
            "Clock", f"The clock is behind: files of this checkout are {behind:.1f} h in the future.", _SET_CLOCK
        )
    apart = _apart_from(service_url, moment)
    if apart is not None and abs(apart) > _CLOCK_TOLERANCE_S:
        return problem(
            "Clock",
            f"The containers' clock and this machine's are {abs(apart):.0f} s apart.",
            "Restart Docker (its virtual machine slept), then look again.",
        )
    synchronised = ask("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if synchronised is not None and synchronised.output == "no":
        return warning("Clock", "The clock is not synchronised with the network's time.", _SET_CLOCK)
    if synchronised is not None and synchronised.output == "yes":
        return ok("Clock", "Synchronised with the network's time.")
    return ok("Clock", "Nothing contradicts it; this machine does not say whether it is synchronised.")


def _apart_from(url: str, now: float) -> float | None:
    """Seconds by which a service's clock is ahead; None without an answer."""
    try:
        with urlopen(url, timeout=2.0) as response:  # noqa: S310 - our own services
            date = response.headers.get("Date")
    except (URLError, OSError):
        return None
    return parsedate_to_datetime(date).timestamp() - now if date else None
