"""Kafka's jars in the user's cache. Run as a program (`python -m … CACHE`), it fetches them.

It is a process of its own, because the resolver configures logging and reads proxies and certificates from its
environment.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from gourmetgram.settings import process_environment
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.progress import StepReport

VERSION = "4.1.0"
# Kafka's coordinates include no logger; without one, it would start with a warning and log nothing.
COORDINATES = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"

# As `sha256sum` writes them; a new version of Kafka needs a new list.
_DIGESTS = Path(__file__).with_name("kafka_jars.sha256")


def folder(cache: Path) -> Path:
    """Folder of the complete set of jars."""
    return cache / f"kafka-{VERSION}"


def obtain(cache: Path, report: StepReport) -> None:
    """Fetch the jars, once for all stacks.

    Args:
        cache: cache folder of this platform in the user's home.
        report: receives a text when the download takes a while.

    Raises:
        StackError: the jars could not be fetched.
    """
    with toolchain.exclusive(cache / "kafka.lock"):
        if folder(cache).exists():
            return
        report("fetching its jars (about half a minute, the first time only)")
        run_fetch(__name__, cache, "Kafka")


def run_fetch(module: str, folder: Path, product: str) -> None:
    """Run a module that fetches jars, in a process that trusts the operating system's certificates.

    Args:
        module: name of the module.
        folder: its argument.
        product: owner of the jars, for the error's text.

    Raises:
        StackError: the jars could not be fetched.
    """
    answer = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        env=trust_system_certificates(process_environment()),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise StackError(f"the jars of {product} could not be fetched: {_last_line(answer.stderr)}")


def fetch(cache: Path) -> None:
    """Resolve the coordinates and put all jars into one folder, which appears only when complete.

    Args:
        cache: cache folder of this platform in the user's home.

    Raises:
        StackError: a jar is not one with which the tests ran.
    """
    import jgo

    resolved = jgo.build(COORDINATES, cache_dir=cache / "jgo")
    fresh = cache / f"kafka-{VERSION}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for jar in resolved.path.rglob("*.jar"):
        shutil.copy2(jar, fresh / jar.name)
    verify(fresh)
    fresh.rename(folder(cache))
    shutil.rmtree(cache / "jgo")


def verify(jars: Path, digests: Path = _DIGESTS) -> None:
    """Compare all jars of a folder with their SHA-256 digests.

    Args:
        jars: folder of the jars.
        digests: lines of `sha256sum`.

    Raises:
        StackError: a jar is missing, unexpected, or has another digest.
    """
    pairs = (line.split() for line in digests.read_text(encoding="utf-8").splitlines())
    expected = {name: digest for digest, name in pairs}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.glob("*.jar")}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise StackError(
            f"these jars differ from {digests.name}: {', '.join(wrong)}. A repository or a proxy in between gave other "
            "files: try another network, and report it if the jars stay the same."
        )


def trust_system_certificates(environment: dict[str, str]) -> dict[str, str]:
    """Trust the operating system's certificates, those of a company included, like pip."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        environment.setdefault("REQUESTS_CA_BUNDLE", str(bundle))
    return environment


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no error message"


if __name__ == "__main__":
    try:
        fetch(Path(sys.argv[1]))
    except StackError as error:
        sys.exit(str(error))
