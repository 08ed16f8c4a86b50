"""A broker that comes back from an older copy of its disk, and whose log is filled again past the stored offsets."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.gaps import accept_gap
from gourmetgram_tools.local.stack import Stack
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.own_stack import own_stack

pytestmark = [pytest.mark.servers, pytest.mark.chaos]

IMAGE = str(uuid.UUID(int=1, version=4))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack("own-truncation", tmp_path_factory.mktemp("home")) as stack:
        stack.up(services=())
        yield stack


def views(platform: LakehousePlatform, number: int) -> None:
    platform.publish(*(platform.make("view", IMAGE) for _ in range(number)))


def test_a_log_that_was_cut_and_filled_again_is_refused_by_name_and_goes_on_after_an_acceptance(
    own: Stack, tmp_path: Path
) -> None:
    data, copy = own.folder / "kafka" / "data", tmp_path / "copy"
    lakehouse = LakehousePlatform(Sources.load(own.environment()))
    views(lakehouse, 10)
    own.stop("kafka")
    shutil.copytree(data, copy)
    own.start("kafka")
    views(lakehouse, 10)
    lakehouse.run()
    lakehouse.assert_exact()
    own.stop("kafka")
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    own.start("kafka")
    # Ten records are lost. Fifteen new ones take their offsets and more: the stored offset 20 lies in the middle.
    views(LakehousePlatform(lakehouse.sources), 15)
    (number,) = (p for p, end in lakehouse.end_offsets()[lakehouse.topic("view")].items() if end == 25)
    place = Partition(lakehouse.topic("view"), number)
    with pytest.raises(PermanentError, match=rf"{place}: record 19 is not the one that was read there"):
        lakehouse.aggregate()
    gap, _snapshot_id = accept_gap(lakehouse.sources, place)
    assert gap[:4] == (*place, 20, 20)
    assert lakehouse.run().records == 5
    # From now on, the new log is the known one.
    views(LakehousePlatform(lakehouse.sources), 4)
    assert lakehouse.run().records == 4
