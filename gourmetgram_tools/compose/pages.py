"""Pages of the lab, with the login of each."""

from typing import Final

from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.local.links import Page

HOW_TO_ASK_JUPYTER: Final = "docker exec jupyter jupyter server list"
HOW_TO_REACH_MLFLOW: Final = "`ssh -L 5000:localhost:5000 cc@A.B.C.D`"


def compose_pages(lab: ComposeSettings, host: str, jupyter_token: str = "") -> list[Page]:
    """Every page that the lab publishes, in the order of its stages.

    Args:
        lab: settings with the passwords.
        host: name or address under which the browser reaches the machine.
        jupyter_token: token of the running Jupyter; empty when unknown.
    """
    postgres = f"System PostgreSQL, Server postgres, {lab.postgres_user} / {lab.postgres_password}, {lab.postgres_db}"
    api = f"http://{host}:8000"
    token = lab.jupyter_token or jupyter_token
    return [
        Page("Adminer: tables", f"http://{host}:5050", postgres),
        Page(
            "MinIO console: buckets and objects",
            f"http://{host}:9001",
            _login(lab.minio_root_user, lab.minio_root_password),
        ),
        Page("API: try the endpoints", f"{api}/docs"),
        Page("API: health", f"{api}/health"),
        Page("API: metrics", f"{api}/metrics"),
        Page("Redpanda Console: topics", f"http://{host}:8090"),
        Page("Redis Insight: keys", f"http://{host}:8081"),
        Page("Airflow: DAGs", f"http://{host}:8080", _login("admin", lab.airflow_admin_password)),
        Page("Nimtable: Iceberg tables", f"http://{host}:3000", _login("admin", lab.nimtable_password)),
        Page(
            "Jupyter: notebooks",
            f"http://{host}:8888/tree?token={token}" if token else f"http://{host}:8888/tree",
            "" if token else f"the token that `{HOW_TO_ASK_JUPYTER}` shows",
        ),
        # On the address of the servers: it has no login.
        Page("MLflow: runs and models", "http://localhost:5000", f"no login; from elsewhere {HOW_TO_REACH_MLFLOW}"),
    ]


def nimtable_form(lab: ComposeSettings) -> list[tuple[str, str]]:
    """Fields of Nimtable's form "Connect catalog", with the values that make PyIceberg's catalog appear.

    Args:
        lab: its passwords.
    """
    return [
        ("Connection method", "JDBC + S3"),
        ("Catalog name", "gourmetgram"),
        ("Catalog endpoint (URI)", "jdbc:postgresql://postgres:5432/iceberg_catalog"),
        ("Warehouse", "s3://gourmetgram-datalake/warehouse"),
        ("S3 endpoint", "http://minio:9000"),
        # Nimtable answers requests without a login, so this user reads tables and nothing else.
        ("Access key ID", "gourmetgram_nimtable"),
        ("Secret access key", lab.nimtable_s3_password),
        ("Advanced settings: jdbc.user", lab.postgres_user),
        ("Advanced settings: jdbc.password", lab.postgres_password),
    ]


def _login(user: str, password: str) -> str:
    return f"{user} / {password}"
