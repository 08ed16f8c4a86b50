"""Rounds: traffic, faults, rest, and the comparison of everything with everything."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import PlatformError
from gourmetgram.settings import process_environment
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.local.stack import Stack
from tests.chaos.nemesis.arena import Arena
from tests.chaos.nemesis.checker import read_rows, violations
from tests.chaos.nemesis.clients import Clients
from tests.chaos.nemesis.faults import KINDS, Fault, draw
from tests.chaos.nemesis.history import History, Outcome
from tests.support.waiting import wait_until

_WRITES_BETWEEN: Final = 50
_TRAFFIC_DEADLINE_S: Final = 120.0
_REST_DEADLINE_S: Final = 180.0
_PAUSE: Final = threading.Event()
"""Never set: time of a fault is waited for on it."""
_AGGREGATION: Final = (sys.executable, "-m", "tests.support.aggregate_once")
_AGGREGATION_DEADLINE_S: Final = 180.0


@dataclass(frozen=True)
class Round:
    """One round and what was found after it.

    Attributes:
        number: counted from 1.
        faults: what was done.
        aggregation_killed: whether a run of the aggregation was killed meanwhile.
        answers: operations of the round by their end.
        events: distinct events that the audit compared, of all rounds so far.
        found: sentences about contradictions; empty when all agree.
        seconds: its duration.
    """

    number: int
    faults: tuple[Fault, ...]
    aggregation_killed: bool
    answers: dict[Outcome, int]
    events: int
    found: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        faults = ", ".join(map(str, self.faults)) + (", kill aggregation" if self.aggregation_killed else "")
        answers = ", ".join(f"{count} {outcome}" for outcome, count in self.answers.items())
        return f"round {self.number}: {faults}; {answers}; {self.events} events; {len(self.found)} contradictions"


class Nemesis:
    """Rounds in one arena.

    Args:
        arena: a running arena.
        seed: number that draws all faults. The same seed gives the same faults, not the same race.
        kinds: kinds of faults, keys of `KINDS`.
    """

    def __init__(self, arena: Arena, seed: int, kinds: Collection[str] = tuple(KINDS)) -> None:
        self._arena = arena
        self._kinds = kinds
        self._stack = stack = arena.stack
        self._choose = random.Random(seed)
        self._history = History()
        self._clients = Clients(f"http://127.0.0.1:{stack.ports.api}", self._history, seed)
        self._engine = create_worker_engine(platform_of(stack).postgres, "nemesis")

    def rounds(self, seconds: float) -> Iterator[Round]:
        """Rounds until the time is over, at least one. The caller stops at the first contradiction."""
        end = time.monotonic() + seconds
        number = 1
        yield self._round(number)
        while time.monotonic() < end:
            number += 1
            yield self._round(number)

    def _round(self, number: int) -> Round:
        began = time.monotonic()
        faults = draw(self._choose, self._arena, self._kinds)
        kill_after_s = self._choose.choice((None, self._choose.uniform(0.5, 4.0)))
        before = {outcome: self._history.count(outcome) for outcome in Outcome}
        with self._clients.running():
            self._traffic()
            with _aggregation(self._stack) as aggregation:
                self._suffer(faults, aggregation, kill_after_s)
            self._traffic()
        answers = {outcome: self._history.count(outcome) - before[outcome] for outcome in Outcome}
        events, found = self._compare()
        self._arena.copy_redis()
        return Round(number, faults, kill_after_s is not None, answers, events, found, time.monotonic() - began)

    def _traffic(self) -> None:
        """Wait for some more acknowledged writes."""
        goal = self._history.count(Outcome.ACKNOWLEDGED) + _WRITES_BETWEEN
        wait_until(
            lambda: self._history.count(Outcome.ACKNOWLEDGED) >= goal, _TRAFFIC_DEADLINE_S, "more acknowledged writes"
        )

    def _suffer(
        self, faults: tuple[Fault, ...], aggregation: subprocess.Popen[str], kill_after_s: float | None
    ) -> None:
        """Let each fault last for its time, the shorter ones within the longer ones, then take all back."""
        began = time.monotonic()
        events = [(fault.seconds, "fault") for fault in faults]
        for fault in faults:
            fault.begin(self._arena)
        if kill_after_s is not None:
            events.append((kill_after_s, "aggregation"))
        for after_s, what in sorted(events):
            _PAUSE.wait(max(0.0, began + after_s - time.monotonic()))
            if what == "aggregation":
                aggregation.kill()
        self._arena.heal()

    def _compare(self) -> tuple[int, tuple[str, ...]]:
        """Run the aggregation once more, then compare the history with the rows, and all stores with each other."""
        with _aggregation(self._stack) as aggregation:
            text, _ = aggregation.communicate(timeout=_AGGREGATION_DEADLINE_S)
        failed = [f"the aggregation failed: {text[-2_000:]}"] if aggregation.returncode else []
        found = violations(self._history, read_rows(self._engine))
        try:
            result = audit(platform_of(self._stack), deadline_s=_REST_DEADLINE_S)
        except PlatformError as error:
            return 0, (*failed, *found, str(error))
        wrong = [f"audit, {check.name}: {check.differences[:5]}" for check in result.checks if not check.ok]
        return result.events, (*failed, *found, *wrong)


@contextmanager
def _aggregation(stack: Stack) -> Iterator[subprocess.Popen[str]]:
    """A run of the aggregation in a process of its own; during a fault it may fail."""
    with subprocess.Popen(
        _AGGREGATION,
        env={**process_environment(), **stack.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.stdout is not None and not process.stdout.closed:
                process.communicate(timeout=_AGGREGATION_DEADLINE_S)
