"""Jars of Iceberg's own REST server, in the user's cache. Run as a program (`python -m … CACHE`), it fetches them."""

import shutil
import sys
from pathlib import Path

from gourmetgram_tools.local import kafka_jars, toolchain

ICEBERG = "1.11.0"
"""The newest version whose server is published."""
_JETTY = "12.1.6"
_HADOOP = "3.4.1"
COORDINATES = (
    f"org.apache.iceberg:iceberg-open-api:{ICEBERG}:test-fixtures",
    f"org.apache.iceberg:iceberg-core:{ICEBERG}",
    f"org.apache.iceberg:iceberg-core:{ICEBERG}:tests",
    f"org.apache.iceberg:iceberg-aws:{ICEBERG}",
    f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG}",
    f"org.eclipse.jetty.ee10:jetty-ee10-servlet:{_JETTY}",
    f"org.eclipse.jetty.compression:jetty-compression-server:{_JETTY}",
    f"org.eclipse.jetty.compression:jetty-compression-gzip:{_JETTY}",
    # The server names a class of Hadoop; its jars need an older Avro than Iceberg's.
    f"org.apache.hadoop:hadoop-client-api:{_HADOOP}",
    f"org.apache.hadoop:hadoop-client-runtime:{_HADOOP}",
    "org.apache.avro:avro:1.12.1",
    "org.postgresql:postgresql:42.7.14",
    "org.slf4j:slf4j-simple:2.0.17",
)
DIGESTS = Path(__file__).with_name("jars.sha256")
"""As `sha256sum` writes them; a new version needs a new list."""


def obtain(cache: Path) -> Path:
    """Folder of the complete set of jars, fetched once.

    Args:
        cache: folder of programs that are fetched once.

    Raises:
        StackError: the jars could not be fetched.
    """
    folder = cache / f"iceberg-rest-{ICEBERG}"
    with toolchain.exclusive(cache / "iceberg-rest.lock"):
        if not folder.exists():
            kafka_jars.run_fetch(__name__, folder, "Iceberg's REST server")
    return folder


def fetch(folder: Path) -> None:
    """Resolve the coordinates; the folder appears only when it is complete.

    Raises:
        StackError: a jar is not one with which the tests ran.
    """
    import jgo

    fresh, resolver = folder.with_suffix(".new"), folder.with_suffix(".jgo")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    resolved = jgo.build("+".join(COORDINATES), cache_dir=resolver)
    for jar in resolved.path.rglob("*.jar"):
        shutil.copy2(jar, fresh / jar.name)
    kafka_jars.verify(fresh, DIGESTS)
    fresh.rename(folder)
    shutil.rmtree(resolver)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
