"""Print the tables of the pipeline; exit with 1, naming the table, when one is missing, unreadable or empty.

    docker exec airflow-scheduler python /opt/airflow/dags/verify_pipeline.py

Not a DAG: .airflowignore keeps Airflow from reading it.
"""

import sys

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from gourmetgram.training_data.verification import verify


def show(line: str) -> None:
    """Write a line of the description."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Print the description of the tables; returns the exit code."""
    try:
        with open_catalog(IcebergSettings.load()) as catalog:
            problems = verify(catalog, show)
    except PlatformError as error:
        problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"Problem: {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
