"""The Spark server is killed inside the training tasks: file and table stay, and the next run is complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil
import pytest

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.engine.spark import SparkEngine
from gourmetgram.lakehouse.schemas import NAMESPACE
from gourmetgram.settings import OfflineSettings
from gourmetgram.training_data.load import load
from gourmetgram.training_data.table import TRAINING_TABLE
from gourmetgram.training_data.transform import transform
from tests.support.spark import own_server
from tests.support.training_pipeline import TrainingPipeline

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]


def test_a_killed_spark_server_leaves_file_and_table_as_they_were(
    pipeline: TrainingPipeline, spark: OfflineSettings
) -> None:
    image = pipeline.image(timedelta(days=2))
    pipeline.run()
    file, snapshots = pipeline.processed(), pipeline.snapshot_ids()
    newer = pipeline.image(timedelta(days=1))
    pipeline.platform.aggregate()
    pipeline.extract()

    with pipeline.platform.catalog() as catalog:
        for method in ("materialise", "batches"):
            with own_server() as (engine, server), _killed_at(method, server), pytest.raises(TransientError):
                transform(pipeline.lake, catalog, engine)
        assert (pipeline.processed(), pipeline.snapshot_ids()) == (file, snapshots)

        transform(pipeline.lake, catalog, spark)
        written = pipeline.processed()
        with own_server() as (engine, server), _killed_at("batches", server), pytest.raises(TransientError):
            load(pipeline.lake, catalog, engine)
        assert (pipeline.processed(), pipeline.snapshot_ids()) == (written, snapshots)

        load(pipeline.lake, catalog, spark)
        # The client drops the temporary tables of a killed server, too.
        assert sorted(catalog.list_namespaces()) == sorted([(NAMESPACE,), (TRAINING_TABLE.split(".")[0],)])
    assert {image_id for image_id, _minutes in pipeline.rows()} == {image, newer}


@contextmanager
def _killed_at(method: str, server: psutil.Process) -> Iterator[None]:
    """Kill the server at the first call of a method."""
    call = getattr(SparkEngine, method)

    def killing(engine: SparkEngine, *arguments: object, **named: object) -> object:
        if server.is_running():
            server.kill()
        return call(engine, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkEngine, method, killing)
        yield
