"""Kafka's jars in the user's cache. Run as a program (`python -m … CACHE`), it fetches them.

A program of its own because the resolver configures logging and reads proxies and certificates from its environment.
"""

import shutil
import sys
from pathlib import Path

VERSION = "4.1.0"
# Kafka's own coordinates name no logger to use; without one it would start with a warning and log nothing.
COORDINATES = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"


def folder(cache: Path) -> Path:
    """Where the jars are once they are complete."""
    return cache / f"kafka-{VERSION}"


def fetch(cache: Path) -> None:
    """Resolve the coordinates and put all jars into one folder, which appears only when complete.

    Args:
        cache: the user's cache folder of this platform.
    """
    import jgo

    resolved = jgo.build(COORDINATES, cache_dir=cache / "jgo")
    fresh = cache / f"kafka-{VERSION}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for jar in resolved.path.rglob("*.jar"):
        shutil.copy2(jar, fresh / jar.name)
    fresh.rename(folder(cache))
    shutil.rmtree(cache / "jgo")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
