"""Iceberg's own REST server: its catalog in a database of PostgreSQL, its files in the object store."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests

from gourmetgram.settings import IcebergSettings
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.progress import StepReport
from tests.support.iceberg_rest import jars


class IcebergRestServer(Component):
    """The server that Iceberg tests its clients with. It asks for no login, and speaks no TLS.

    Args:
        folder: folder of the server.
        cache: folder of programs that are fetched once.
        port: port of its API.
        database_url: libpq URL of the catalog's database, with the login of its owner.
        warehouse: folder of the tables, and the login of its object store.
        lends_keys: True = clients get the keys of this login with each table.
    """

    name = "iceberg-rest"
    title = "Iceberg REST catalog"

    def __init__(
        self,
        folder: Path,
        cache: Path,
        port: int,
        database_url: str,
        warehouse: IcebergSettings,
        *,
        lends_keys: bool = False,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._port = port
        self._database = urlsplit(database_url)
        self._warehouse = warehouse
        self._lends_keys = lends_keys

    @property
    def ports(self) -> Mapping[str, int]:
        """Port of the API."""
        return {"Iceberg REST catalog": self._port}

    def obtain(self, report: StepReport) -> None:
        """Fetch the jars."""
        jars.obtain(self._cache)

    def program(self) -> Program:
        """One JVM with at most 256 MB of heap."""
        # In names of variables, one underscore is a point, and two are a hyphen.
        database, warehouse = self._database, self._warehouse
        return Program(
            command=(
                *(str(toolchain.find_java()), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"),
                *("-cp", f"{jars.obtain(self._cache)}/*", "org.apache.iceberg.rest.RESTCatalogServer"),
            ),
            directory=self._folder,
            environment={
                "CATALOG_REST_PORT": str(self._port),
                "CATALOG_URI": f"jdbc:postgresql://{database.hostname}:{database.port}{database.path}",
                "CATALOG_JDBC_USER": database.username or "",
                "CATALOG_JDBC_PASSWORD": database.password or "",
                "CATALOG_WAREHOUSE": warehouse.warehouse_location,
                "CATALOG_IO__IMPL": "org.apache.iceberg.aws.s3.S3FileIO",
                "CATALOG_CLIENT_REGION": warehouse.s3_region,
                "CATALOG_S3_ENDPOINT": warehouse.s3_endpoint,
                "CATALOG_S3_PATH__STYLE__ACCESS": "true",
                "CATALOG_INCLUDE__CREDENTIALS": str(self._lends_keys).lower(),
                "CATALOG_S3_ACCESS__KEY__ID": warehouse.s3_access_key_id,
                "CATALOG_S3_SECRET__ACCESS__KEY": warehouse.s3_secret_access_key,
            },
            stop_group=False,
        )

    def healthy(self) -> bool:
        """Probe that it gives clients its configuration."""
        try:
            return requests.get(f"http://127.0.0.1:{self._port}/v1/config", timeout=2).ok
        except requests.RequestException:
            return False
