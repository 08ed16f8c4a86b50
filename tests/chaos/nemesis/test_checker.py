"""The checker itself: each kind of contradiction is found, and an agreement is none."""

import httpx
import pytest

from tests.chaos.nemesis.checker import StoredRows, violations
from tests.chaos.nemesis.history import History, Kind, Operation, Outcome, outcome_of

IMAGE = "an image"


def _found(operation: Operation, rows: list[str]) -> list[str]:
    history = History()
    history.add(operation)
    ids: dict[Kind, dict[str, list[str]]] = {kind: {} for kind in Kind}
    ids[operation.kind] = {operation.key: rows} if rows else {}
    return violations(history, StoredRows(ids, {}))


@pytest.mark.parametrize(
    ("outcome", "rows", "agrees"),
    [
        (Outcome.ACKNOWLEDGED, ["row"], True),
        (Outcome.ACKNOWLEDGED, [], False),
        (Outcome.ACKNOWLEDGED, ["another"], False),
        (Outcome.ACKNOWLEDGED, ["row", "another"], False),
        (Outcome.REFUSED, [], True),
        (Outcome.REFUSED, ["row"], False),
        (Outcome.UNKNOWN, [], True),
        (Outcome.UNKNOWN, ["row"], True),
        (Outcome.UNKNOWN, ["row", "another"], False),
        (Outcome.BROKEN, [], False),
    ],
)
def test_an_answer_is_compared_with_its_rows(outcome: Outcome, rows: list[str], agrees: bool) -> None:
    row_id = "row" if outcome is Outcome.ACKNOWLEDGED else ""
    assert (_found(Operation(Kind.COMMENT, "text", outcome, "", row_id), rows) == []) == agrees


@pytest.mark.parametrize(("views", "agrees"), [(1, False), (2, True), (3, True), (4, False)])
def test_views_lie_between_the_acknowledged_ones_and_those_with_the_unknown_ones(views: int, agrees: bool) -> None:
    history = History()
    for outcome in (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, Outcome.REFUSED):
        history.add(Operation(Kind.VIEW, IMAGE, outcome, ""))
    assert (violations(history, StoredRows({}, {IMAGE: views})) == []) == agrees


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (httpx.Response(200), Outcome.ACKNOWLEDGED),
        (httpx.Response(404), Outcome.REFUSED),
        (httpx.Response(503, text="Nothing was stored; please try again."), Outcome.REFUSED),
        (httpx.Response(503, text="It is not known whether the write was stored."), Outcome.UNKNOWN),
        (httpx.Response(500), Outcome.BROKEN),
        (httpx.ConnectError("refused"), Outcome.REFUSED),
        (httpx.ReadError("reset"), Outcome.UNKNOWN),
        (httpx.ReadTimeout("late"), Outcome.UNKNOWN),
    ],
)
def test_each_end_of_a_request_has_its_outcome(result: httpx.Response | httpx.HTTPError, outcome: Outcome) -> None:
    assert outcome_of(result) is outcome
