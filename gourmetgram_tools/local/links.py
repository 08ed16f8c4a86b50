"""Pages of a stack."""

from dataclasses import dataclass

from gourmetgram_tools.local import airflow, minio
from gourmetgram_tools.local.ports import Ports


@dataclass(frozen=True)
class Page:
    """A page with its login; `login` is empty when the page asks for none."""

    title: str
    url: str
    login: str = ""


def pages(ports: Ports, host: str = "localhost", jupyter_token: str = "") -> list[Page]:
    """Every page that a stack serves.

    Args:
        ports: ports of the stack.
        host: name or address under which the browser reaches this machine.
        jupyter_token: token of Jupyter's pages; empty before the stack's first start.
    """
    workers = {
        "Stream consumer": ports.stream_consumer,
        "Risk scorer": ports.risk_scoring_service,
        "Data generator": ports.data_generator,
    }
    api = f"http://{host}:{ports.api}"
    airflow_login = f"{airflow.ADMIN_USER} / {airflow.ADMIN_PASSWORD}"
    console_login = f"{minio.USER} / {minio.PASSWORD}"
    result = [
        Page("API: try the endpoints", f"{api}/docs"),
        Page("API: health", f"{api}/health"),
        Page("API: metrics", f"{api}/metrics"),
        Page(
            "Airflow (after `up --with airflow`)",
            f"http://{host}:{ports.airflow}",
            airflow_login,
        ),
        Page("MinIO console: buckets and objects", f"http://{host}:{ports.minio_console}", console_login),
        Page("MLflow: runs and models (after `up --with mlflow`)", f"http://localhost:{ports.mlflow}"),
        _jupyter(ports.jupyter, jupyter_token),
    ]
    for title, port in workers.items():
        result.append(Page(f"{title}: health", f"http://{host}:{port}/health"))
        result.append(Page(f"{title}: metrics", f"http://{host}:{port}/metrics"))
    return result


def _jupyter(port: int, token: str) -> Page:
    """Page of the notebooks, which listens on the loopback address only."""
    query = f"?token={token}" if token else ""
    return Page("Jupyter (after `up --with jupyter`)", f"http://localhost:{port}/tree{query}")
