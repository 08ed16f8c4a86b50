"""A table larger than the memory limit: loading it whole ends the program, streaming it needs little.

The lab has 6,000,000 rows and a limit of 1,074 MB, here are half the rows and 560 MB: the whole table needs 2.6 times
the limit in both.
"""

import json
import signal
import sys
from collections.abc import Iterator

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.settings import process_environment
from gourmetgram.training.large_rows import LargeTablePlan
from gourmetgram.training.large_table import replace_large_table
from tests.support.memory_limits import Limited, memory_limit

pytestmark = pytest.mark.servers

ROWS = 3_000_000
LIMIT = 560_000_000
FEWER_ROWS = 2_000_000
DATA = 350_000_000
FLAT_MB = 40
PROGRAM = "tests.support.limited_training"


@pytest.fixture(name="limited")
def limited_fixture() -> Iterator[Limited]:
    with memory_limit(LIMIT) as limited:
        yield limited


def test_a_whole_table_is_killed_and_a_stream_stays_flat(
    catalog: Catalog, lake_environment: dict[str, str], limited: Limited
) -> None:
    if limited.group is None:
        pytest.skip("no control group: this user may not make one (root may, on Linux)")
    replace_large_table(catalog, LargeTablePlan(ROWS))
    environment = {**process_environment(), **lake_environment}
    whole = limited.run(PROGRAM, "whole", environment=environment)
    assert (whole.returncode, whole.stdout) == (-signal.SIGKILL, "")
    streamed = limited.run(PROGRAM, "stream", environment=environment)
    assert streamed.returncode == 0, streamed.stderr
    found = json.loads(streamed.stdout)
    assert found["rows"] == ROWS
    assert found["peak_mb"] * 1e6 < LIMIT
    assert found["growth_mb"] < FLAT_MB
    assert found["limit"].startswith("Memory limit 560 MB")
    assert "killed at the limit so far: 1 (oom_kill in memory." in found["limit"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts mapped memory as data")
def test_without_control_groups_a_limit_of_data_shows_the_same(
    catalog: Catalog, lake_environment: dict[str, str]
) -> None:
    replace_large_table(catalog, LargeTablePlan(FEWER_ROWS))
    environment, limited = {**process_environment(), **lake_environment}, Limited(None, DATA)
    whole = limited.run(PROGRAM, "whole", environment=environment)
    assert whole.returncode != 0
    assert "MemoryError" in whole.stderr
    streamed = limited.run(PROGRAM, "stream", environment=environment)
    assert streamed.returncode == 0, streamed.stderr
    found = json.loads(streamed.stdout)
    assert found["rows"] == FEWER_ROWS
    assert found["growth_mb"] < FLAT_MB
