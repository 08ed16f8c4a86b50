"""Three minutes of random faults: no answer is contradicted by a store, and all stores agree."""

import os
import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.chaos.nemesis.arena import Arena, arena
from tests.chaos.nemesis.rounds import Nemesis

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(900)]

SECONDS: Final = 150.0


@pytest.fixture(scope="module", name="whole")
def whole_fixture() -> Iterator[Arena]:
    with arena("nemesis") as whole:
        yield whole


def test_random_faults_contradict_no_answer(whole: Arena) -> None:
    seed = int(os.environ.get("NEMESIS_SEED", random.getrandbits(32)))
    nemesis = Nemesis(whole, seed)
    for one in nemesis.rounds(SECONDS):
        assert not one.found, f"NEMESIS_SEED={seed}: {one}\n" + "\n".join(one.found[:20])
    skew = nemesis.skew()
    assert not skew.found, f"NEMESIS_SEED={seed}: {skew}\n" + "\n".join(skew.found[:20])
