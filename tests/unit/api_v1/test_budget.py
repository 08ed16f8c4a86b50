"""The budget of bytes: in turn, never more than there is, and nothing lost."""

import asyncio

import pytest

from api_v1.budget import ByteBudget
from gourmetgram.errors import TransientError


async def test_what_fits_is_given_at_once_and_the_rest_in_turn() -> None:
    budget, order = ByteBudget("tests", 10), []

    async def work(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    await work("first", 8)
    others = [asyncio.create_task(work(name, size)) for name, size in [("large", 9), ("small", 1)]]
    await asyncio.sleep(0)
    assert order == ["first"]
    budget.give_back(8)
    await asyncio.gather(others[0])
    assert order[:2] == ["first", "large"]
    await asyncio.gather(*others)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_waiter_that_leaves_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch, cancelled: bool) -> None:
    monkeypatch.setattr("api_v1.budget.WAIT_S", 0.05)
    budget = ByteBudget("tests", 10)
    await budget.take(6)
    waiter = asyncio.create_task(budget.take(10))
    behind = asyncio.create_task(budget.take(4))
    await asyncio.sleep(0)
    if cancelled:
        waiter.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else TransientError):
        await waiter
    if cancelled:
        # Nothing is in front of it any more.
        await behind
        budget.give_back(4)
    else:
        await asyncio.gather(behind, return_exceptions=True)
    budget.give_back(6)
    assert not budget._waiting


async def test_a_turn_that_comes_as_the_waiter_leaves_goes_to_the_next() -> None:
    budget = ByteBudget("tests", 10)
    await budget.take(10)
    waiter = asyncio.create_task(budget.take(10))
    await asyncio.sleep(0)
    budget.give_back(10)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await budget.take(10)
