"""A commit whose files were begun too long ago is refused, by whichever clock."""

import time

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.commits import MAX_RUN_S, PreparationClock, refuse_overdue
from gourmetgram.lakehouse.maintenance import MaintenancePolicy


class Clocks:
    """The clocks of a machine, which a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic = 1_000.0
        self.wall = 1_700_000_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(time, "time", lambda: self.wall)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_a_machine_that_slept_for_longer_than_the_grace_commits_nothing(clocks: Clocks) -> None:
    clock = PreparationClock()
    clocks.monotonic += 60
    clocks.wall += MaintenancePolicy().grace.total_seconds()
    with pytest.raises(TransientError, match="nothing was committed"):
        refuse_overdue(clock)


def test_a_wall_clock_that_was_set_back_hides_no_long_run(clocks: Clocks) -> None:
    clock = PreparationClock()
    clocks.monotonic += MAX_RUN_S + 1
    clocks.wall -= 3_600
    with pytest.raises(TransientError, match="nothing was committed"):
        refuse_overdue(clock)


def test_a_run_within_the_limit_commits(clocks: Clocks) -> None:
    clock = PreparationClock()
    clocks.monotonic += MAX_RUN_S - 1
    clocks.wall += MAX_RUN_S - 1
    refuse_overdue(clock)
