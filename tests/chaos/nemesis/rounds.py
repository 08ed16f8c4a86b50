"""Rounds: traffic, faults, rest, and the comparison of everything with everything."""

import random
import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import PlatformError
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.inspection.audit import audit
from tests.chaos.nemesis.arena import Arena
from tests.chaos.nemesis.checker import read_rows, violations
from tests.chaos.nemesis.clients import Clients
from tests.chaos.nemesis.faults import KINDS, Fault, draw
from tests.chaos.nemesis.history import History, Outcome
from tests.chaos.nemesis.lake import Skew, event_files, lake_violations, skew_of
from tests.chaos.nemesis.ways_out import accept_all_gaps, aggregation, failure_of_aggregation, replay_since
from tests.support.waiting import wait_until

_WRITES_BETWEEN: Final = 50
_TRAFFIC_DEADLINE_S: Final = 300.0
_REST_DEADLINE_S: Final = 300.0
_PAUSE: Final = threading.Event()
"""Never set: time of a fault is waited for on it."""
_SETTLED_DEADLINE_S: Final = 60.0


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

    def skew(self) -> Skew:
        """After the last round: compare all served features with the history."""
        return skew_of(platform_of(self._stack), self._arena.losses.moved)

    def _round(self, number: int) -> Round:
        began = time.monotonic()
        faults = draw(self._choose, self._arena, self._kinds)
        kill_after_s = self._choose.choice((None, self._choose.uniform(0.5, 4.0)))
        before = {outcome: self._history.count(outcome) for outcome in Outcome}
        with self._clients.running():
            self._traffic()
            with aggregation(self._stack) as process:
                self._suffer(faults, process, kill_after_s)
            if any(fault.is_loss for fault in faults):
                # Of older images, the clients cannot know what is left.
                self._clients.renew()
            self._traffic()
        answers = {outcome: self._history.count(outcome) - before[outcome] for outcome in Outcome}
        was_cut = self._arena.cut_since is not None
        refused = self._find_way_out()
        events, found = self._compare(was_cut=was_cut)
        self._arena.copy_servers()
        return Round(
            number, faults, kill_after_s is not None, answers, events, (*refused, *found), time.monotonic() - began
        )

    def _traffic(self) -> None:
        """Wait for some more acknowledged writes."""
        goal = self._history.count(Outcome.ACKNOWLEDGED) + _WRITES_BETWEEN
        wait_until(
            lambda: self._history.count(Outcome.ACKNOWLEDGED) >= goal, _TRAFFIC_DEADLINE_S, "more acknowledged writes"
        )

    def _suffer(self, faults: tuple[Fault, ...], process: subprocess.Popen[str], kill_after_s: float | None) -> None:
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
                process.kill()
        self._arena.heal()

    def _find_way_out(self) -> list[str]:
        """After a cut of the log: let the lake go on, and the events come back."""
        since, self._arena.cut_since = self._arena.cut_since, None
        if since is None:
            return []
        wrong = accept_all_gaps(self._stack, self._arena.losses)
        replay_since(self._engine, since)
        self._arena.losses.note_replay(read_rows(self._engine).views)
        return wrong

    def _compare(self, *, was_cut: bool) -> tuple[int, tuple[str, ...]]:
        """Run the aggregation once more, then compare the history with the rows, and all stores with each other."""
        losses = self._arena.losses
        failure = failure_of_aggregation(self._stack)
        failed = [f"the aggregation failed: {failure}"] if failure else []
        found = violations(self._history, losses.with_lost(read_rows(self._engine)))
        try:
            events, wrong = self._audit(time.monotonic() + (_SETTLED_DEADLINE_S if was_cut else 0))
            wrong += self._removed_files()
            if was_cut:
                wrong += self._compare_lake()
        except PlatformError as error:
            return 0, (*failed, *found, str(error))
        return events, (*failed, *found, *wrong)

    def _removed_files(self) -> list[str]:
        """A catalog that is older than the lake removes none of its files."""
        files = self._arena.losses.files
        removed = files - event_files(platform_of(self._stack).iceberg) if files else set()
        return [f"a restored catalog has removed {each}" for each in sorted(removed)]

    def _compare_lake(self) -> list[str]:
        """At rest, a last run reads all events: each view must be in the lake, also those from the gap."""
        failure = failure_of_aggregation(self._stack)
        views = read_rows(self._engine).views
        wrong = lake_violations(platform_of(self._stack).iceberg, views, self._arena.losses.ids)
        return [f"the aggregation failed: {failure}", *wrong] if failure else wrong

    def _audit(self, until: float) -> tuple[int, list[str]]:
        """Differences that no loss explains. After a cut, the group's old offset hides unread events for a while."""
        while True:
            result = audit(platform_of(self._stack), deadline_s=_REST_DEADLINE_S)
            wrong = []
            for check in result.checks:
                differences = [each for each in check.differences if not self._arena.losses.explains(check.name, each)]
                if differences:
                    wrong.append(f"audit, {check.name}: {differences[:5]}")
            if not wrong or time.monotonic() > until:
                return result.events, wrong
