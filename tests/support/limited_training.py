"""Program that trains on the large table, whole or streamed: `python -m tests.support.limited_training stream`.

It prints a line of JSON: rows, highest use of memory and growth in MB, and what it knows of its limit.
"""

import json
import os
import resource
import sys
from pathlib import Path

import psutil
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from bench.memory import peak_memory_bytes
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.settings import IcebergSettings
from gourmetgram.training.dataset import FEATURE_COLUMNS, LABEL, vectors
from gourmetgram.training.large_table import LARGE_TABLE
from gourmetgram.training.memory import MemoryCurve, MemoryGroup, describe_limit
from gourmetgram.training.trainer import CLASSES, model_columns
from tests.support.memory_limits import DATA_LIMIT

_BATCH_ROWS = 10_000


def main() -> None:
    """Load the whole table, or stream it."""
    curve = MemoryCurve()
    with open_catalog(IcebergSettings.load()) as catalog:
        table = catalog.load_table(LARGE_TABLE)
        if DATA_LIMIT in os.environ:
            _limit_data(int(os.environ[DATA_LIMIT]))
        if sys.argv[1] == "whole":
            rows = len(table.scan().to_pandas())
        else:
            rows, scaler, model = 0, StandardScaler(), SGDClassifier(loss="log_loss", random_state=42)
            for read in stream_rows(table, (*FEATURE_COLUMNS, LABEL)):
                for start in range(0, read.num_rows, _BATCH_ROWS):
                    batch = read.slice(start, _BATCH_ROWS)
                    matrix = vectors(batch)
                    scaler.partial_fit(matrix[:, :18])
                    model.partial_fit(model_columns(scaler, matrix), batch[LABEL].to_numpy(), classes=CLASSES)
                    rows += batch.num_rows
                    curve.add(rows, psutil.Process().memory_info().rss / 1e6)
    found = {"rows": rows, "peak_mb": peak_memory_bytes() / 1e6, "limit": describe_limit(MemoryGroup.find())}
    print(json.dumps({**found, **curve.summary()}))  # noqa: T201 - its answer


def _limit_data(more: int) -> None:
    """Allow so many bytes more than the libraries have reserved by now, of which most is never used."""
    status = Path("/proc/self/status").read_text()
    limit = int(status.split("VmData:")[1].split()[0]) * 1024 + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
