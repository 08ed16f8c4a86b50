"""Writing a large training table, and streaming it into vectors and a model, beside loading it into pandas.

Each measurement is a process of its own, so that its peak of memory is its own.
"""

import json
import subprocess
import sys
import time

from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from bench.memory import peak_memory_bytes
from bench.platform import bench_stack
from bench.report import Row
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.settings import IcebergSettings, process_environment
from gourmetgram.training.dataset import FEATURE_COLUMNS, LABEL, vectors
from gourmetgram.training.large_rows import LargeTablePlan
from gourmetgram.training.large_table import LARGE_TABLE, LargeTableSettings, replace_large_table
from gourmetgram.training.trainer import CLASSES, model_columns

_COLUMNS = (*FEATURE_COLUMNS, LABEL)
_WORKS = ("random", "write", "arrow", "stream", "fit", "pandas")


def run(rows: int) -> list[Row]:
    """Measure on a table of so many rows."""
    with bench_stack([]) as stack:
        variables = {**stack.environment(), "LARGE_ROWS": str(rows)}
        found = {work: _in_process(work, variables) for work in _WORKS}
    random, write, arrow, stream, fit, pandas = (found[work] for work in _WORKS)
    limit = f"{rows / arrow['seconds']:,.0f} rows/s read as Arrow only"
    return [
        Row(
            f"writing the large table, {rows:,} rows",
            f"{rows / write['seconds']:,.0f} rows/s, peak {write['peak_mb']:.0f} MB",
            f"{rows / random['seconds']:,.0f} random rows/s made and dropped",
            f"{random['seconds'] / write['seconds']:.0%}",
            "peak < 600 MB",
        ),
        Row(
            f"streaming read and vectorise, {rows:,} rows",
            f"{rows / stream['seconds']:,.0f} rows/s, peak {stream['peak_mb']:.0f} MB",
            limit,
            f"{arrow['seconds'] / stream['seconds']:.0%}",
            ">= 1,000,000 rows/s, peak <= 600 MB",
        ),
        Row(
            "the same, and scaler and one pass of the model fitted",
            f"{rows / fit['seconds']:,.0f} rows/s, peak {fit['peak_mb']:.0f} MB",
            limit,
            f"{arrow['seconds'] / fit['seconds']:.0%}",
        ),
        Row(
            "the whole table into pandas, for comparison",
            f"{rows / pandas['seconds']:,.0f} rows/s, peak {pandas['peak_mb']:.0f} MB",
        ),
    ]


def _in_process(work: str, variables: dict[str, str]) -> dict[str, float]:
    answer = subprocess.run(
        [sys.executable, "-m", "bench.training", work],
        env={**process_environment(), **variables},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def _work(name: str) -> None:
    """One measurement, printed as JSON."""
    plan = LargeTablePlan(LargeTableSettings.load().large_rows)
    with open_catalog(IcebergSettings.load()) as catalog:
        started = time.perf_counter()
        if name == "write":
            replace_large_table(catalog, plan)
        table = catalog.load_table(LARGE_TABLE) if name != "random" else None
        if table is None:
            rows = sum(batch.num_rows for number in range(plan.files) for batch in plan.batches(number))
        elif name == "write":
            rows = plan.rows
        elif name == "pandas":
            rows = len(table.scan().to_pandas())
        else:
            rows, scaler, model = 0, StandardScaler(), SGDClassifier(loss="log_loss", random_state=42)
            for batch in stream_rows(table, _COLUMNS):
                rows += batch.num_rows
                if name == "arrow":
                    continue
                matrix = vectors(batch)
                if name == "fit":
                    scaler.partial_fit(matrix[:, :18])
                    labels = batch[LABEL].to_numpy()
                    model.partial_fit(model_columns(scaler, matrix), labels, classes=CLASSES)
        seconds = time.perf_counter() - started
    assert rows == (plan.rows if table is None else table.scan().count())
    print(json.dumps({"seconds": seconds, "peak_mb": peak_memory_bytes() / 1e6}))


if __name__ == "__main__":
    _work(sys.argv[1])
