"""Last step of `make setup-spark` (`python -m … .venv-spark`): the jars that Apache Spark lacks."""

import sys
from pathlib import Path

from gourmetgram_tools.local import spark_jars
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.kafka_jars import run_fetch

if __name__ == "__main__":
    try:
        run_fetch(spark_jars.__name__, Path(sys.argv[1]), "Spark")
    except StackError as error:
        sys.exit(str(error))
