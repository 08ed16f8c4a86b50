"""Access to the stores behind Airflow's connections, and the errors for which a retry is useless."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException

from gourmetgram.errors import PermanentError
from gourmetgram.settings import DagSettings, IcebergSettings, PostgresSettings

if TYPE_CHECKING:
    from model_training.lifecycle.retraining import Stores


def task_timeout() -> timedelta:
    """Longest run of a task: `DAG_TASK_TIMEOUT_MINUTES`."""
    return timedelta(minutes=DagSettings.load().dag_task_timeout_minutes)


def application_database() -> PostgresSettings:
    """The application's PostgreSQL: connection `gourmetgram_postgres`."""
    connection = Connection.get("gourmetgram_postgres")
    # Airflow writes another scheme than libpq.
    return PostgresSettings(database_url="postgresql://" + connection.get_uri().split("://", 1)[1])


def data_lake() -> IcebergSettings:
    """Catalog and warehouse of PyIceberg's variables, with the login of connection `gourmetgram_minio`."""
    connection = Connection.get("gourmetgram_minio")
    prefix = "pyiceberg_catalog__gourmetgram__s3__"
    endpoint = {f"{prefix}endpoint": connection.extra_dejson["endpoint_url"]}
    # A role of the machine or of the container needs no login.
    keys = {f"{prefix}access_key_id": connection.login, f"{prefix}secret_access_key": connection.password}
    return IcebergSettings.load().model_copy(update=endpoint | keys if connection.login else endpoint)


def retraining_stores() -> "Stores":
    """Stores of the retraining, with the logins of both connections."""
    # Imported here: LightGBM and MLflow take seconds to import, which the other DAGs do not need.
    from gourmetgram.models.settings import ModelStoreSettings
    from model_training.lifecycle.retraining import Stores

    return Stores(application_database(), data_lake(), ModelStoreSettings.load())


@contextmanager
def no_retry_for_permanent_errors() -> Iterator[None]:
    """Fail the task at once when a retry is useless; other errors are left to the task's retries."""
    try:
        yield
    except PermanentError as error:
        raise AirflowFailException(str(error)) from error
