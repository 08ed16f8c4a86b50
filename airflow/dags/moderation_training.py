"""Daily DAG: rows and event history to `moderation.training_data`, with features as of each anchor, and labels.

`extract_data` takes one consistent snapshot of PostgreSQL. `transform_features` computes features and labels as of each
anchor. `load_iceberg` makes the table's content equal to them, in one commit.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import dag, task
from platform_access import task_timeout


@dag(
    dag_id="moderation_training",
    description="Build moderation.training_data from PostgreSQL and event_aggregations",
    schedule="@daily",
    start_date=datetime(2023, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=30), "execution_timeout": task_timeout()},
    tags=["gourmetgram"],
    doc_md=__doc__,
)
def moderation_training() -> None:
    """Extract, transform and load the training data."""

    @task
    def extract_data() -> dict[str, Any]:
        """Copy the needed columns of five tables to `raw/`, all in one snapshot."""
        from platform_access import application_database, data_lake, no_retry_for_permanent_errors

        from gourmetgram.training_data.extract import extract
        from gourmetgram.training_data.lake import Lake

        with no_retry_for_permanent_errors():
            extraction = extract(application_database().database_url, Lake(data_lake()))
        return {"extracted_at": extraction.extracted_at.isoformat(), "rows": extraction.rows}

    @task
    def transform_features() -> dict[str, Any]:
        """Compute the training rows and write them to `processed/training_data.parquet`."""
        from platform_access import data_lake, no_retry_for_permanent_errors

        from gourmetgram.lakehouse.catalog import open_catalog
        from gourmetgram.settings import OfflineSettings
        from gourmetgram.training_data.lake import Lake
        from gourmetgram.training_data.transform import transform

        settings = data_lake()
        with no_retry_for_permanent_errors(), open_catalog(settings) as catalog:
            result = transform(Lake(settings), catalog, OfflineSettings.load())
        return {"kept": result.kept, "dropped": result.dropped}

    @task
    def load_iceberg() -> dict[str, Any]:
        """Replace the rows of `moderation.training_data` that changed, in one commit."""
        from platform_access import data_lake, no_retry_for_permanent_errors

        from gourmetgram.lakehouse.catalog import open_catalog
        from gourmetgram.models.retention import maintain_training_data_quietly
        from gourmetgram.settings import OfflineSettings
        from gourmetgram.training_data.lake import Lake
        from gourmetgram.training_data.load import load

        settings = data_lake()
        with no_retry_for_permanent_errors(), open_catalog(settings) as catalog:
            result = load(Lake(settings), catalog, OfflineSettings.load())
            maintain_training_data_quietly(catalog, settings.object_store)
        return {
            "rows": result.rows,
            "added": result.added,
            "removed": result.removed,
            "snapshot_id": str(result.snapshot_id),
        }

    extract_data() >> transform_features() >> load_iceberg()


moderation_training()
