"""Prometheus page of Airflow's web server: `/gourmetgram/metrics`, for the alerts on DAGs (docs/alerts.md)."""

from collections.abc import Iterable
from typing import ClassVar

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.plugins_manager import AirflowPlugin
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

app = FastAPI(title="Metrics of the DAGs", openapi_url=None)


class DagCollector(Collector):
    """State of all DAGs, read from Airflow's database at each request."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Gauges by DAG. A DAG without a success has no time."""
        success = GaugeMetricFamily(
            "gourmetgram_dag_last_success_timestamp_seconds", "End of the DAG's last successful run", labels=["dag_id"]
        )
        paused = GaugeMetricFamily("gourmetgram_dag_paused", "1 while the DAG is paused, else 0", labels=["dag_id"])
        newest = (
            select(DagRun.dag_id, func.max(DagRun.end_date))
            .where(DagRun.state == DagRunState.SUCCESS)
            .group_by(DagRun.dag_id)
        )
        with create_session() as session:
            for dag_id, end in session.execute(newest):
                success.add_metric([dag_id], end.timestamp())
            for dag_id, is_paused in session.execute(select(DagModel.dag_id, DagModel.is_paused)):
                paused.add_metric([dag_id], int(is_paused))
        return success, paused


@app.get("/metrics")
def metrics() -> Response:
    """Answer with the metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(DagCollector())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class DagMetrics(AirflowPlugin):  # type: ignore[misc] # Airflow is not in the environment that is checked
    """The page as a part of the web server."""

    name = "gourmetgram_dag_metrics"
    fastapi_apps: ClassVar[list[object]] = [{"app": app, "url_prefix": "/gourmetgram", "name": "Metrics of the DAGs"}]
