"""`verify_pipeline.py`, run as the lab runs it: what it prints, and that each missing piece makes it fail by name."""

import subprocess
import sys
from datetime import timedelta
from typing import Any

import boto3
import pytest

from gourmetgram.lakehouse.schemas import ALL_TABLES
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram.training_data.table import TRAINING_TABLE, ensure_training_table
from gourmetgram.training_data.verification import verify
from tests.support.training_pipeline import TrainingPipeline

pytestmark = pytest.mark.servers

SCRIPT = PROJECT_ROOT / "airflow" / "dags" / "verify_pipeline.py"


def run(pipeline: TrainingPipeline, **changes: str) -> subprocess.CompletedProcess[str]:
    settings = pipeline.platform.sources.iceberg.model_dump()
    variables = {name.upper(): str(value) for name, value in settings.items()} | changes
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**process_environment(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def delete_files(pipeline: TrainingPipeline, table: str) -> None:
    """Remove a table's data files from the bucket, behind the catalog's back."""
    settings = pipeline.platform.sources.iceberg
    client: Any = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key,
        region_name=settings.s3_region,
    )
    with pipeline.platform.catalog() as catalog:
        paths = [task.file.file_path for task in catalog.load_table(table).scan().plan_files()]
    assert paths
    for path in paths:
        bucket, key = path.removeprefix("s3://").split("/", 1)
        client.delete_object(Bucket=bucket, Key=key)
    client.close()


@pytest.fixture
def finished(pipeline: TrainingPipeline) -> TrainingPipeline:
    """Both DAGs have run once."""
    image = pipeline.image(timedelta(days=2))
    for kind in ("view", "comment", "flag"):
        pipeline.publish(kind, image, pipeline.now)
    pipeline.image(timedelta(days=3))
    pipeline.platform.run()
    pipeline.train()
    return pipeline


def test_it_prints_table_schema_count_sample_and_the_other_tables(finished: TrainingPipeline) -> None:
    result = run(finished)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "Table: moderation.training_data"
    assert "  22: label_needs_moderation_24h: optional long" in lines
    assert "  25: first_flagged_at: optional timestamptz" in lines
    count, sample = lines.index("Row count: 6"), lines.index("Sample rows:")
    rows = lines[sample + 1 : sample + 6]
    assert count < sample
    assert all(row.startswith("{'image_id': '") for row in rows)
    assert lines[sample + 6 :] == [
        "event_aggregations.events: 5 rows",
        "event_aggregations.view_windows_5min: 1 rows",
        "event_aggregations.comment_windows_5min: 1 rows",
        "event_aggregations.flag_windows_5min: 1 rows",
    ]


def test_each_table_whose_files_are_gone_and_each_missing_table_is_named(finished: TrainingPipeline) -> None:
    """One after the other, in one pipeline: setting one up takes longer than all the looks at it."""
    tables = [TRAINING_TABLE, *ALL_TABLES]
    for number, table in enumerate(tables, start=1):
        delete_files(finished, table)
        with finished.platform.catalog() as catalog:
            problems = verify(catalog, lambda _line: None)
        assert len(problems) == number
        for problem, broken in zip(problems, tables, strict=False):
            assert problem.startswith(f"{broken} cannot be read")
    for number, table in enumerate(tables, start=1):
        with finished.platform.catalog() as catalog:
            catalog.drop_table(table)
            problems = verify(catalog, lambda _line: None)
        assert problems[:number] == [f"{name} does not exist" for name in tables[:number]]


def test_an_empty_training_table_is_a_problem(pipeline: TrainingPipeline) -> None:
    pipeline.platform.run()
    with pipeline.platform.catalog() as catalog:
        ensure_training_table(catalog)
    result = run(pipeline)
    assert "Row count: 0" in result.stdout
    assert (result.returncode, result.stderr) == (1, "Problem: moderation.training_data is empty\n")


def test_before_the_first_run_everything_is_missing(pipeline: TrainingPipeline) -> None:
    result = run(pipeline)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [f"Problem: {name} does not exist" for name in (TRAINING_TABLE, *ALL_TABLES)]


def test_a_catalog_that_is_away_is_one_sentence(pipeline: TrainingPipeline) -> None:
    away = "postgresql+psycopg2://user:wrong@127.0.0.1:1/iceberg_catalog"
    result = run(pipeline, PYICEBERG_CATALOG__GOURMETGRAM__URI=away)
    assert result.returncode == 1
    assert result.stderr.startswith("Problem: the Iceberg catalog could not be opened")
    assert "Traceback" not in result.stderr
