"""The relay as a state machine on a real database: crashes, lost confirmations and slow writers in every order.

The broker alone is a fake, since its faults are chosen here: it stores all, a part, or all without a confirmation.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from api_v2 import relay as relay_module
from api_v2.confirmations import Confirmations
from api_v2.pruning import Pruner
from api_v2.publisher import OutboxEvent
from api_v2.relay import STATEMENT_TIMEOUT_S, Floor, Relay
from api_v2.settings import ApiV2Settings
from tests.support.machines import TIMEOUT_S, machine_settings

pytestmark = pytest.mark.servers

KEYS = ("one image", "another image")
_INSERT = """
INSERT INTO event_outbox (event_id, topic, message_key, payload)
SELECT id, 'views', $2, '{}' FROM unnest($1::uuid[]) WITH ORDINALITY AS t(id, n) ORDER BY n
RETURNING sequence
"""
# A row decides and not the trigger's existence, whose change would wait for open transactions.
_FORBIDDER = """
TRUNCATE event_outbox;
DROP TABLE IF EXISTS marks;
CREATE TABLE marks AS SELECT FALSE AS forbidden;
CREATE OR REPLACE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT forbidden FROM marks) THEN RAISE 'not now'; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER forbid BEFORE UPDATE ON event_outbox FOR EACH ROW EXECUTE FUNCTION forbid();
"""


class Broker:
    """Takes the place of `OutboxPublisher`; remembers what it stored, in order."""

    def __init__(self) -> None:
        self.stored: list[OutboxEvent] = []
        self.stores = 1.0
        self.confirms = True
        self.missing: frozenset[str] = frozenset()
        self.failed: frozenset[str] = frozenset()

    def publish(self, rows: Sequence[OutboxEvent], _abandon: object) -> list[OutboxEvent]:
        """Store the rows as far as the broker is willing."""
        accepted = list(rows[: round(self.stores * len(rows))])
        self.stored.extend(accepted)
        return accepted if self.confirms else []

    def close(self) -> None:
        """Nothing is open."""


class RelayMachine(RuleBasedStateMachine):
    """Writers, a relay and its faults. Subclasses name the database.

    Attributes:
        committed: sequences by key, in the order in which their transactions were known to be committed.
    """

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = 1_000.0
        self.broker = Broker()
        self.committed: list[list[tuple[int, str]]] = []
        self.writing: list[tuple[asyncpg.Connection, Any, list[tuple[int, str]]]] = []
        self.repeats_possible = False
        self.before: list[tuple[int, int]] = []
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.admin = await asyncpg.connect(self.url)
        await self.admin.execute(_FORBIDDER)
        await self._new_relay()

    async def _new_relay(self) -> None:
        self.connection = await asyncpg.connect(self.url)
        self.relay = Relay(None, ApiV2Settings())  # type: ignore[arg-type]  # rounds get their connection
        self.relay._publisher = self.broker  # type: ignore[assignment]
        self.floor, self.confirmations = Floor(), Confirmations(STATEMENT_TIMEOUT_S)

    # --- writers ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.writing) < 3)
    @rule(key=st.sampled_from(KEYS), number=st.integers(1, 4))
    def begin(self, key: str, number: int) -> None:
        """Write some events, and keep the transaction open."""

        async def write() -> None:
            connection = await asyncpg.connect(self.url)
            transaction = connection.transaction()
            await transaction.start()
            rows = await connection.fetch(_INSERT, [uuid.uuid4() for _ in range(number)], key)
            events = [(row["sequence"], key) for row in rows]
            # Events that were committed before these were written come before them.
            last = {known: sequence for batch in self.committed for sequence, known in batch}
            if key in last:
                self.before.append((last[key], events[0][0]))
            self.writing.append((connection, transaction, events))

        self.runner.run(write())

    @precondition(lambda self: self.writing)
    @rule(which=st.integers(0, 2), keep=st.sampled_from((True, True, False)))
    def end(self, which: int, keep: bool) -> None:
        """Commit a transaction, or roll it back."""

        async def finish() -> None:
            connection, transaction, events = self.writing.pop(which % len(self.writing))
            await (transaction.commit() if keep else transaction.rollback())
            await connection.close()
            if keep:
                self.committed.append(events)

        self.runner.run(finish())

    # --- the relay ---------------------------------------------------------------------------------------------------

    @rule(stores=st.sampled_from((1.0, 1.0, 0.5, 0.0)), confirms=st.sampled_from((True, True, False)))
    def publish(self, stores: float, confirms: bool) -> None:
        """One round with a broker that stores all or a part, and may not confirm it."""
        self.broker.stores, self.broker.confirms = stores, confirms
        self.repeats_possible |= not confirms
        self._round()

    def _round(self) -> None:
        self.clock += 0.1
        self.runner.run(self.relay.publish_some(self.connection, self.floor, self.confirmations))

    @rule()
    def crash(self) -> None:
        """Lose the process: its connection, its floor, and confirmations that are not marked."""

        async def lose() -> None:
            self.connection.terminate()
            await self.relay.stop()
            await self._new_relay()

        self.repeats_possible |= bool(self.confirmations)
        self.runner.run(lose())

    @rule(forbidden=st.booleans())
    def forbid_marks(self, forbidden: bool) -> None:
        """Take the right to mark rows away, or give it back."""

        self.runner.run(self.admin.execute("UPDATE marks SET forbidden = $1", forbidden))

    @rule(seconds=st.sampled_from((0.5, 3.0, 11.0, 40.0)))
    def pass_time(self, seconds: float) -> None:
        """Let time pass, for the floor and for pauses after failures."""
        self.clock += seconds

    @rule()
    def prune(self) -> None:
        """Delete what was published before its retention."""
        self.runner.run(Pruner(0.0, STATEMENT_TIMEOUT_S).prune(self.connection, self.clock))

    # --- promises ----------------------------------------------------------------------------------------------------

    @invariant()
    def what_is_marked_or_gone_was_stored(self) -> None:
        """No event leaves the outbox before the broker has it, and none is sent that was not committed."""
        stored = {event.sequence for event in self.broker.stored}
        known = {sequence for batch in self.committed for sequence, _ in batch}
        assert stored <= known
        waiting = self.runner.run(self._waiting())
        assert known - stored <= waiting

    async def _waiting(self) -> set[int]:
        rows = await self.admin.fetch("SELECT sequence FROM event_outbox WHERE published_at IS NULL")
        return {row["sequence"] for row in rows}

    def teardown(self) -> None:
        """Let everything recover; then each committed event was stored, in order, and repeated only with a reason."""
        try:
            self._recover()
            first: dict[int, int] = {}
            for position, event in enumerate(self.broker.stored):
                first.setdefault(event.sequence, position)
            assert set(first) == {sequence for batch in self.committed for sequence, _ in batch}
            for batch in self.committed:
                assert sorted(batch, key=lambda item: first[item[0]]) == batch
            for earlier, later in self.before:
                assert later not in first or first[earlier] < first[later]
            if not self.repeats_possible:
                assert max(Counter(event.sequence for event in self.broker.stored).values(), default=1) == 1
        finally:
            self.runner.run(self._close())
            self.runner.close()

    def _recover(self) -> None:
        while self.writing:
            self.end(0, True)
        self.forbid_marks(False)
        self.broker.stores, self.broker.confirms = 1.0, True
        for _ in range(4):
            self.clock += 60.0
            self._round()
        assert self.runner.run(self._waiting()) == set()

    async def _close(self) -> None:
        for connection, _, _ in self.writing:
            connection.terminate()
        self.connection.terminate()
        await self.relay.stop()
        self.admin.terminate()


@pytest.mark.timeout(TIMEOUT_S)
def test_no_order_of_faults_loses_an_event_or_repeats_one_without_a_reason(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine(RelayMachine):
        url = database_url

        def _round(self) -> None:
            monkeypatch.setattr(relay_module, "now", lambda: self.clock)
            super()._round()

    monkeypatch.setattr(relay_module, "POLL_S", 0.0)
    monkeypatch.setattr(relay_module, "RETRY_S", 0.0)
    run_state_machine_as_test(
        Machine,
        settings=machine_settings(examples=40, steps=25),
    )
