"""Both engines on a REST catalog, with TLS and a login: one table, one file, whichever engine runs."""

import os
from datetime import timedelta

import pytest

from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.settings import OfflineSettings
from gourmetgram.training_data.load import load
from gourmetgram.training_data.transform import transform
from tests.support.secured.certificates import Certificates
from tests.support.spark import own_server
from tests.support.training_pipeline import TrainingPipeline

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900), pytest.mark.usefixtures("rest_catalog")]

DUCKDB = OfflineSettings()


def test_a_table_of_a_rest_catalog_is_the_same_by_either_engine(
    pipeline: TrainingPipeline,
    quick_spark: pytest.MonkeyPatch,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Java trusts the authorities of its own store.
    monkeypatch.setenv("JDK_JAVA_OPTIONS", f"{os.environ['JDK_JAVA_OPTIONS']} {certificates.trusting_java()}")
    lakehouse = pipeline.platform
    images = [pipeline.image(timedelta(hours=2 + number), caption="日本語") for number in range(3)]
    pipeline.flag(images[0], timedelta(hours=1), review_status="confirmed")
    with own_server() as (spark, _server):
        for engine, image in zip((spark, DUCKDB, spark), images, strict=True):
            lakehouse.publish(*(lakehouse.make(kind, image) for kind in WINDOWED_KINDS))
            lakehouse.engine = engine
            lakehouse.run()
            lakehouse.assert_exact()

        pipeline.extract()
        with lakehouse.catalog() as catalog:
            written = []
            for engine in (DUCKDB, spark):
                result = transform(pipeline.lake, catalog, engine)
                written.append((result, pipeline.processed()))
            assert written[0] == written[1]
            loaded = load(pipeline.lake, catalog, spark)
            again = load(pipeline.lake, catalog, DUCKDB)
            assert not [name for (name, *_) in catalog.list_namespaces() if name.startswith("scratch_")]
    assert loaded.added > 0
    assert (again.added, again.removed, again.rows) == (0, 0, loaded.rows)
