"""Engine on Apache Spark, one machine or a cluster, through Spark Connect.

Spark reads and writes Iceberg tables of the same catalog as PyIceberg. Bulk data passes between this process
and the executors through temporary Iceberg tables, never through Spark's driver. Only single values and small results
(`rows`, `scalar`) come through it.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import ibis
import pyarrow as pa
from ibis import ir
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.io import S3_FORCE_VIRTUAL_ADDRESSING
from pyiceberg.table import Table
from pyiceberg.types import TimestamptzType
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.session import SparkSession
from sqlalchemy.engine import make_url
from sqlglot import exp

from gourmetgram.errors import SettingsError
from gourmetgram.lakehouse.engine.columns import arrow_schema, converted, read_file
from gourmetgram.lakehouse.engine.conditions import spark_condition
from gourmetgram.lakehouse.engine.engine import NO_NAMES, Renamed
from gourmetgram.lakehouse.engine.scratch_tables import ScratchTables, qualified, scratch_tables
from gourmetgram.lakehouse.engine.spark_errors import named_failures
from gourmetgram.lakehouse.engine.spark_server import spark_address
from gourmetgram.settings import OfflineSettings

CATALOG: Final = "gourmetgram"
"""Name of the catalog in Spark. PyIceberg stores its tables under the same name, so both see each other's."""

CLIENT_LOG: Final = "pyspark.sql.connect.logging"
"""Name of the client's log."""

NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})

# Waits of 0.2, 0.8 and 3.2 s.
_RETRIES: Final = 3
_FIRST_WAIT_MS: Final = 200


@contextmanager
def open_spark(catalog: Catalog | None, settings: OfflineSettings) -> Iterator["SparkEngine"]:
    """Open a session without tables.

    Args:
        catalog: catalog of the lakehouse; the session gets its address and login.
        settings: address of the server, or where one is started.

    Raises:
        SettingsError: Spark is not installed, or there is no catalog.
        TransientError: a server is away.
    """
    if catalog is None:
        raise SettingsError("OFFLINE_ENGINE=spark works on the Iceberg catalog only.")
    with (
        spark_address(settings) as address,
        scratch_tables(catalog) as scratch,
        spark_session(address, session_settings(catalog.properties)) as session,
    ):
        yield SparkEngine(session, scratch)


@contextmanager
def spark_session(address: str, configuration: Mapping[str, str] = NO_SETTINGS) -> Iterator[SparkSession]:
    """Open a session whose times are in UTC; errors of Spark become errors of the platform.

    Args:
        address: the server's.
        configuration: further settings of the session.

    Raises:
        TransientError: the server is away, or a task on it failed.
        PermanentError: Spark refused a query.
    """
    # The client logs each failure that it raises. While it holds the lock of its log, the collector may close an older
    # session, which waits for threads that log, too. Airflow switches this log on.
    logging.getLogger(CLIENT_LOG).setLevel(logging.CRITICAL + 1)
    with named_failures(address):
        session = SparkSession.builder.remote(address).create()
        # The client's own policy waits ten minutes for a dead server.
        session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES, initial_backoff=_FIRST_WAIT_MS)])
        try:
            for name, value in {"spark.sql.session.timeZone": "UTC", **configuration}.items():
                session.conf.set(name, value)
            yield session
        finally:
            session.stop()
            # The collector closes a session once more, and with it the pool of threads that all sessions share.
            session.client.close = _do_nothing  # type: ignore[method-assign]


def _do_nothing() -> None:
    """Close nothing."""


def session_settings(properties: dict[str, str]) -> dict[str, str]:
    """Settings of a session for the catalog that PyIceberg's properties describe."""
    names: dict[str, str] = {
        **(_rest_catalog(properties) if properties.get("type") == "rest" else _jdbc_catalog(properties)),
        "warehouse": properties["warehouse"],
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": properties["s3.endpoint"],
        # Without keys, the executors ask AWS's own chain of providers.
        **{name: properties[name] for name in ("s3.access-key-id", "s3.secret-access-key") if name in properties},
        "s3.path-style-access": str(properties.get(S3_FORCE_VIRTUAL_ADDRESSING) != "True").lower(),
        "client.region": properties["s3.region"],
        # A table that PyIceberg changed meanwhile is read anew.
        "cache-enabled": "false",
    }
    prefix = f"spark.sql.catalog.{CATALOG}"
    return {
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{prefix}.{name}": value for name, value in names.items()},
    }


def _rest_catalog(properties: dict[str, str]) -> dict[str, str]:
    # A token is never exchanged, so it has no address for that.
    login = ("credential", "scope", "oauth2-server-uri") if "credential" in properties else ("token",)
    return {
        "type": "rest",
        "uri": properties["uri"],
        **{name: properties[name] for name in login if name in properties},
    }


def _jdbc_catalog(properties: dict[str, str]) -> dict[str, str]:
    database = make_url(properties["uri"])
    parameters = f"?{urlencode(database.query)}" if database.query else ""
    return {
        "type": "jdbc",
        "uri": f"jdbc:postgresql://{database.host}:{database.port or 5432}/{database.database}{parameters}",
        "jdbc.user": database.username or "",
        "jdbc.password": database.password or "",
        # PyIceberg makes tables of this version.
        "jdbc.schema-version": "V1",
    }


class SparkEngine:
    """Tables and expressions of one session.

    Args:
        session: used by this engine only.
        scratch: temporary tables for bulk data.
    """

    def __init__(self, session: SparkSession, scratch: ScratchTables) -> None:
        self._session = session
        self._scratch = scratch

    @property
    def slice_rows(self) -> int | None:
        """The executors hold all events together, and spill to disk."""
        return None

    def load(
        self, name: str, schema: ibis.Schema, data: pa.Table | pa.RecordBatchReader, renamed: Renamed = NO_NAMES
    ) -> ir.Table:
        """Stream Arrow data into a temporary table."""
        return self._staged(name, schema, converted(data, schema, renamed))

    def load_file(self, name: str, schema: ibis.Schema, path: Path, renamed: Renamed = NO_NAMES) -> ir.Table:
        """Stream a Parquet file into a temporary table."""
        return self._staged(name, schema, read_file(path, schema, renamed))

    def load_snapshot(
        self,
        name: str,
        schema: ibis.Schema,
        table: Table,
        row_filter: BooleanExpression | None = None,
        snapshot_id: int | None = None,
        renamed: Renamed = NO_NAMES,
    ) -> ir.Table:
        """Name a query over the snapshot; the executors read it from the object store."""
        number = snapshot_id if snapshot_id is not None else table.metadata.current_snapshot_id
        if number is None:
            return self.load(name, schema, arrow_schema(schema).empty_table())
        columns = ", ".join(_column(table, column, kind, renamed) for column, kind in schema.items())
        query = f"SELECT {columns} FROM {CATALOG}.{qualified(table)} VERSION AS OF {number}"  # noqa: S608 - own names
        if row_filter is not None:
            query += f" WHERE {spark_condition(table.schema(), row_filter)}"
        return self._view(name, schema, query)

    def materialise(self, name: str, expression: ir.Table) -> ir.Table:
        """Let the executors write a temporary table: later queries are planned without the expression."""
        table = self._written(name, expression)
        return self._view(name, expression.schema(), f"SELECT * FROM {CATALOG}.{table}")  # noqa: S608 - own names

    def rows(self, expression: ir.Table) -> pa.Table:
        """Compute an expression; its rows come through Spark's driver."""
        return self._session.sql(_sql(expression)).toArrow().cast(arrow_schema(expression.schema()))

    def batches(self, expression: ir.Table) -> pa.RecordBatchReader:
        """Let the executors write a temporary table, and stream its files."""
        table = self._written("result", expression)
        return converted(self._scratch.stream(table), expression.schema(), NO_NAMES)

    def scalar(self, expression: ir.Scalar) -> Any:  # noqa: ANN401 - whatever type the expression has
        """Compute one value."""
        return self._session.sql(_sql(expression)).toArrow().column(0)[0].as_py()

    def _written(self, name: str, expression: ir.Table) -> str:
        table = self._scratch.create(name, expression.schema())
        self._session.sql(f"INSERT INTO {CATALOG}.{table} {_sql(expression)}")
        return table

    def _staged(self, name: str, schema: ibis.Schema, rows: pa.RecordBatchReader) -> ir.Table:
        table = self._scratch.write(name, schema, rows)
        return self._view(name, schema, f"SELECT * FROM {CATALOG}.{table}")  # noqa: S608 - own names

    def _view(self, name: str, schema: ibis.Schema, query: str) -> ir.Table:
        self._session.sql(query).createOrReplaceTempView(name)
        return ibis.table(schema, name=name)


def _column(table: Table, name: str, kind: ibis.DataType, renamed: Renamed) -> str:
    """A column of a query over an Iceberg table, in the type of the loaded table."""
    source = renamed.get(name, name)
    if source not in table.schema().column_names:
        value = "NULL"
    elif isinstance(table.schema().find_field(source).field_type, TimestamptzType) and kind.is_integer():
        value = f"unix_micros({_quoted(source)})"
    else:
        value = _quoted(source)
    return f"CAST({value} AS {_TYPES[type(kind)]}) AS {_quoted(name)}"


_TYPES: Final = {
    ibis.expr.datatypes.String: "STRING",
    ibis.expr.datatypes.UUID: "STRING",
    ibis.expr.datatypes.Boolean: "BOOLEAN",
    ibis.expr.datatypes.Int32: "INT",
    ibis.expr.datatypes.Int64: "BIGINT",
    ibis.expr.datatypes.Float64: "DOUBLE",
}


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("spark")


def _sql(expression: ir.Expr) -> str:
    # Ibis's compiler reads options that its back end registers when it is first named. NaN is a number here, not null.
    ibis.pyspark.name  # noqa: B018
    return str(ibis.to_sql(expression, dialect="pyspark"))
