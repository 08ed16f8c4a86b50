"""The platform's wheel, and the code paths that a wrapped model carries.

MLflow stores each code path in the folder `code/` of a model and puts that folder in front of `sys.path` at loading.
A wheel is an archive: it can be installed from there, but not imported. So the packages that the wrapper needs lie
unpacked beside it, out of that very wheel.
"""

import fcntl
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from gourmetgram.errors import PermanentError
from gourmetgram.settings import PROJECT_ROOT

DISTRIBUTION: Final = "gourmetgram"
PACKAGE: Final = "model_training"
_CARRIED: Final = (f"{PACKAGE}/__init__.py", f"{PACKAGE}/lifecycle/")
"""Members of the wheel that a wrapped model imports: a file, and a folder with all below it."""

_BUILD_S: Final = 300


def platform_wheel(root: Path = PROJECT_ROOT) -> Path:
    """Find the wheel in `dist/`, or build it where its sources are.

    An existing wheel is taken when its version and its code are those of the platform that runs.

    Args:
        root: folder of `dist/`: the repository, or a container's folder with a built wheel.

    Raises:
        PermanentError: there is no fitting wheel and none can be built here.
    """
    folder = root / "dist"
    if not (root / "pyproject.toml").exists():
        return _fitting(_only_wheel(folder))
    folder.mkdir(exist_ok=True)
    with _one_at_a_time(folder):
        wheel = folder / f"{DISTRIBUTION}-{running_version(root)}-py3-none-any.whl"
        if not (wheel.exists() and _same_code(wheel)):
            _build(root, folder)
        return _fitting(wheel)


def code_paths(wheel: Path, folder: Path) -> list[str]:
    """Unpack from a wheel the packages that a wrapped model imports.

    Args:
        wheel: the platform's wheel.
        folder: an empty folder, which must exist until the model is logged.

    Returns:
        Paths of the wheel and of the unpacked package: the `code_paths` of the model.

    Raises:
        PermanentError: the wheel is of another version of the platform.
    """
    _fitting(wheel)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(_CARRIED)])
    return [str(wheel), str(folder / PACKAGE)]


def running_version(root: Path = PROJECT_ROOT) -> str | None:
    """Version of the code that runs; None where neither its sources nor its metadata are there."""
    sources = root / "pyproject.toml"
    if sources.exists():
        return str(tomllib.loads(sources.read_text(encoding="utf-8"))["project"]["version"])
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return None


def _only_wheel(folder: Path) -> Path:
    found = sorted(folder.glob(f"{DISTRIBUTION}-*.whl"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise PermanentError(
            f"{folder} must hold one wheel of the platform, and holds {names}: "
            "run `uv build --wheel` in the repository, and copy the wheel here."
        )
    return found[0]


def _fitting(wheel: Path) -> Path:
    """Return the wheel, when the code that runs is in it."""
    name = re.fullmatch(rf"{DISTRIBUTION}-([^-]+)-py3-none-any\.whl", wheel.name)
    running = running_version()
    remedy = "delete it, and run `uv build --wheel` in the repository"
    if name is None or (running is not None and name[1] != running):
        raise PermanentError(
            f"The wheel {wheel.name} is of another version than the platform that runs ({running}): {remedy}."
        )
    if not wheel.is_file() or not zipfile.is_zipfile(wheel):
        raise PermanentError(f"The file {wheel} is no wheel: {remedy}.")
    if not _same_code(wheel):
        raise PermanentError(f"The wheel {wheel.name} has other code than the platform that runs: {remedy}.")
    return wheel


def _same_code(wheel: Path) -> bool:
    """Compare a wheel with the code that runs: no module of the lifecycle or the core is absent, and none differs."""
    needed = {
        path.relative_to(PROJECT_ROOT).as_posix()
        for folder in ("gourmetgram", _CARRIED[1])
        for path in (PROJECT_ROOT / folder).rglob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if (PROJECT_ROOT / name).is_file()]
        return needed <= set(names) and all(archive.read(name) == (PROJECT_ROOT / name).read_bytes() for name in names)


def _build(root: Path, folder: Path) -> None:
    uv = _uv(root)
    # setuptools puts into a wheel whatever an earlier build left here, deleted modules too.
    shutil.rmtree(root / "build" / "lib", ignore_errors=True)
    # Without a fetched environment for the build: it works without a network.
    command = [uv, "build", "--wheel", "--quiet", "--no-build-isolation", "--out-dir", str(folder), str(root)]
    command += ["--python", str(Path(uv).with_name("python"))] if Path(uv).with_name("python").exists() else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_BUILD_S)  # noqa: S603
    if done.returncode:
        raise PermanentError(
            f"`uv build --wheel` in {root} failed; run it there to see all of its output. Its last lines: "
            f"{done.stderr.strip()[-400:]}"
        )


def _uv(root: Path) -> str:
    """Path of uv: of this environment, of the repository's, or of the system."""
    for place in (Path(sys.executable).parent, root / ".venv" / "bin"):
        if (place / "uv").exists():
            return str(place / "uv")
    found = shutil.which("uv")
    if found is None:
        raise PermanentError(f"The platform's wheel cannot be built in {root} without uv: run `make setup`.")
    return found


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from building into the same folder meanwhile."""
    with (folder / ".building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
