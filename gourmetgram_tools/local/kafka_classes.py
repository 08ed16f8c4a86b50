"""Image of Kafka's classes for the JVM's class data sharing: a start maps it instead of loading 7,000 classes.

It halves the time of a start. A JVM ignores an image of another JVM or of other jars.
"""

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from gourmetgram.waiting import wait_for
from gourmetgram_tools.local import kafka_jars
from gourmetgram_tools.local.errors import StackError

_START_DEADLINE_S = 120.0
_STOP_DEADLINE_S = 30.0
_POLL_S = 0.1
_FILE = "-XX:SharedArchiveFile="


def image_file(cache: Path, java: Path) -> Path:
    """Path of the image for one java; an upgraded java gets another.

    Args:
        cache: cache folder of this platform in the user's home.
        java: path of the program.
    """
    program = java.resolve()
    identity = f"{program} {program.stat().st_mtime_ns}"
    return cache / f"kafka-{kafka_jars.VERSION}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}.jsa"


def note_loaded(names: Path, command: Sequence[str], ready: Callable[[], bool]) -> None:
    """Run a broker until it has answered clients, and note the classes that it loads.

    Args:
        names: file for the names of the classes.
        command: command line of the broker, with `noting(names)` among its options.
        ready: returns True when the broker has answered.

    Raises:
        StackError: the broker did not start, or did not stop.
    """
    with names.with_suffix(".log").open("w+") as log:
        broker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(
                lambda: broker.poll() is not None or ready(),
                deadline_s=_START_DEADLINE_S,
                every_s=_POLL_S,
                late=lambda _ready: _not_started(log),
            )
            if broker.poll() is not None:
                raise _not_started(log)
            broker.terminate()
            broker.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise StackError("The broker did not stop.") from None
        finally:
            broker.kill()
            broker.wait()


def _not_started(log: IO[str]) -> StackError:
    log.seek(0)
    return StackError(f"The broker did not start: {log.read()[-500:].strip()}")


def noting(names: Path) -> str:
    """Option that makes a JVM write down its loaded classes."""
    return f"-XX:DumpLoadedClassList={names}"


def using(image: Path) -> tuple[str, ...]:
    """Option that makes a JVM map an image if it can; none for a missing or empty image."""
    return (f"{_FILE}{image}",) if image.exists() and image.stat().st_size else ()


def write_image(image: Path, names: Path, java: Sequence[str]) -> None:
    """Write the image of the noted classes; the file appears only when complete.

    Args:
        image: file to write.
        names: file from `note_loaded`.
        java: program with the class path and the collector of the brokers; the image depends on both.

    Raises:
        StackError: this JVM cannot write an image.
    """
    fresh = names.with_suffix(".jsa")
    program, *options = java
    answer = subprocess.run(
        [program, "-Xshare:dump", f"-XX:SharedClassListFile={names}", f"{_FILE}{fresh}", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0 or not fresh.exists():
        said = (answer.stderr or answer.stdout)[-500:].strip()
        raise StackError(f"{program} cannot write an image of classes: {said}")
    fresh.replace(image)
