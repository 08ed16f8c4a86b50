"""Memory, disk and clock of the machine."""

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
    """The lab was sized for 16 GB.

    Args:
        total_bytes: the machine's memory; read from the machine when None.
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
    """Images, volumes and the data set need room where Docker keeps them.

    Args:
        folder: where Docker keeps its data; asked from Docker when None.
        free_bytes: what is free there; read when None.
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
    # It may be in a folder that this user must not look into, or not exist before Docker does.
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
    """Events from the future become dead letters, and windows count by time: the clock must be right.

    Without a network no server can be asked for the time, but three things can show that it is wrong.

    Args:
        checkout: files cannot be newer than now.
        service_url: a page of a container, whose clock must be this one's (it is not in a virtual machine that slept).
        now: Unix seconds; the machine's clock when None.
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
    """Seconds by which a service's clock is ahead; None when it does not answer."""
    try:
        with urlopen(url, timeout=2.0) as response:  # noqa: S310 - our own services
            date = response.headers.get("Date")
    except (URLError, OSError):
        return None
    return parsedate_to_datetime(date).timestamp() - now if date else None
