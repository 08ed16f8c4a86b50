"""Hourly DAG: events of the broker to Iceberg. Raw records are appended once, then 5-minute windows follow.

Each task reads its work from the snapshots of the tables; the summaries that tasks return are for people only. So every
task is idempotent: it can be cleared and run again, in any run.
"""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from airflow.sdk import Variable, dag, task
from airflow.sdk.configuration import conf
from platform_access import task_timeout


@dag(
    dag_id="redpanda_event_aggregation",
    description="Append new events to event_aggregations.events and recompute the 5-minute windows they touch",
    schedule="@hourly",
    start_date=datetime(2023, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "execution_timeout": task_timeout()},
    tags=["gourmetgram"],
    doc_md=__doc__,
)
def redpanda_event_aggregation() -> None:
    """Aggregate raw events and the windows of each kind, and show the checkpoint."""

    @task
    def consume_and_aggregate_events(run_id: str) -> dict[str, Any]:
        """Append the records from the newest snapshot's offsets to the ends as of now, in one commit."""
        from platform_access import application_database, data_lake, no_retry_for_permanent_errors

        from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
        from gourmetgram.settings import KafkaSettings, OfflineSettings

        with no_retry_for_permanent_errors():
            sources = Sources(data_lake(), KafkaSettings.load(), application_database())
            return asdict(aggregate_events(sources, run_id=run_id, offline_settings=OfflineSettings.load()))

    def write_windows(kind: Literal["view", "comment", "flag"]) -> Any:  # noqa: ANN401 - Airflow's task reference
        @task(task_id=f"write_{kind}_windows")
        def write() -> dict[str, Any]:
            """Recompute every 5-minute window that new events touched, and replace those rows."""
            from platform_access import data_lake, no_retry_for_permanent_errors

            from gourmetgram.lakehouse.windows import write_windows as recompute
            from gourmetgram.settings import OfflineSettings

            with no_retry_for_permanent_errors():
                return asdict(recompute(data_lake(), kind, OfflineSettings.load()))

        return write()

    @task
    def commit_checkpoint() -> dict[str, Any]:
        """Mirror the newest snapshot's offsets in a Variable for display; no code reads it. Remove old log files."""
        from log_retention import LogRetentionSettings, remove_old_logs
        from platform_access import data_lake, no_retry_for_permanent_errors

        from gourmetgram.lakehouse.checkpoint import VARIABLE, checkpoint_document

        with no_retry_for_permanent_errors():
            document = checkpoint_document(data_lake())
        Variable.set(VARIABLE, document, serialize_json=True)
        logs = Path(conf.get_mandatory_value("logging", "base_log_folder"))
        remove_old_logs(logs, LogRetentionSettings.load().airflow_log_retention_days)
        return document

    (
        consume_and_aggregate_events(run_id="{{ run_id }}")
        >> write_windows("view")
        >> write_windows("comment")
        >> write_windows("flag")
        >> commit_checkpoint()
    )


redpanda_event_aggregation()
