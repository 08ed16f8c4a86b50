"""Jars that Apache Spark lacks: Iceberg, its access to S3, PostgreSQL's driver, and the reader of Kafka.

It is run as a program (`python -m … .venv-spark`) by `spark_setup`, because the resolver configures logging and reads
proxies and certificates from its environment.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.kafka_jars import verify

COORDINATES: Final = (
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0+org.apache.iceberg:iceberg-aws-bundle:1.12.0"
    "+org.postgresql:postgresql:42.7.8"
    # Of 4.1, this version alone has all its parts in Maven Central.
    "+org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1"
)

# As `sha256sum` writes them; other coordinates need another list. Resolved jars that Spark brings itself are left out.
_DIGESTS: Final = Path(__file__).with_name("spark_jars.sha256")


def fetch(environment: Path) -> None:
    """Put the jars beside those of Spark.

    Args:
        environment: folder of the Python environment with the package pyspark.

    Raises:
        StackError: Spark is not installed there, or a jar is not one with which the tests ran.
    """
    import jgo

    homes = list(environment.glob("lib/python*/site-packages/pyspark/jars"))
    if len(homes) != 1:
        raise StackError(f"{environment} holds no Apache Spark: run `make setup-spark`.")
    with tempfile.TemporaryDirectory(prefix="gourmetgram-jars-") as name:
        folder = Path(name)
        resolved = jgo.build(COORDINATES, cache_dir=folder / "jgo")
        fresh = folder / "jars"
        fresh.mkdir()
        wanted = {line.split()[1] for line in _DIGESTS.read_text(encoding="utf-8").splitlines()}
        for jar in resolved.path.rglob("*.jar"):
            if jar.name in wanted:
                shutil.copy2(jar, fresh / jar.name)
        verify(fresh, _DIGESTS)
        for jar in fresh.iterdir():
            shutil.copy2(jar, homes[0] / jar.name)


if __name__ == "__main__":
    try:
        fetch(Path(sys.argv[1]))
    except StackError as error:
        sys.exit(str(error))
