"""Arrivals: a Poisson process on absolute times, whatever the work does."""

import asyncio
import itertools
import math
import random
from collections.abc import Callable

import pytest

from data_generator.arrivals import Dispatcher, PoissonArrivals
from data_generator.statistics import Statistics

RATE_PER_S = 5.0


class FakeTime:
    """A clock that moves only when somebody sleeps, and may oversleep."""

    def __init__(self, oversleep_s: float = 0.0) -> None:
        self.now = 1000.0
        self.oversleep_s = oversleep_s

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.oversleep_s
        # Lets the tasks that were started make a step.
        await asyncio.sleep(0)


async def scheduled(number: int, time: FakeTime, seed: int = 1) -> list[float]:
    arrivals = PoissonArrivals(RATE_PER_S, random.Random(seed), time.clock, time.sleep)
    times = [time.now]
    async for due in arrivals:
        times.append(due)
        if len(times) > number:
            break
    return times


def kolmogorov_smirnov(samples: list[float], cumulative: Callable[[float], float]) -> float:
    """Largest distance between the samples' distribution and the expected one."""
    ordered = sorted(samples)
    n = len(ordered)
    return max(
        max((index + 1) / n - cumulative(value), cumulative(value) - index / n) for index, value in enumerate(ordered)
    )


async def test_gaps_follow_the_exponential_distribution() -> None:
    times = await scheduled(5000, FakeTime())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    distance = kolmogorov_smirnov(gaps, lambda gap: 1 - math.exp(-RATE_PER_S * gap))
    # 1.63 / sqrt(n) is exceeded by chance once in a hundred seeds.
    assert distance < 1.63 / math.sqrt(len(gaps))


async def test_gaps_do_not_depend_on_each_other() -> None:
    times = await scheduled(5000, FakeTime())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps)
    covariance = sum((first - mean) * (second - mean) for first, second in itertools.pairwise(gaps))
    assert abs(covariance / variance) < 3 / math.sqrt(len(gaps))


async def test_oversleeping_does_not_shift_the_schedule() -> None:
    punctual = await scheduled(500, FakeTime())
    sleepy = await scheduled(500, FakeTime(oversleep_s=0.5))
    assert sleepy == punctual


async def test_the_rate_holds_while_every_request_hangs() -> None:
    time, statistics = FakeTime(), Statistics()
    arrivals = PoissonArrivals(RATE_PER_S, random.Random(3), time.clock, time.sleep)
    dispatcher = Dispatcher(10_000, statistics, time.clock)
    started: list[float] = []
    enough = asyncio.Event()

    async def hanging_request() -> None:
        started.append(time.now)
        if len(started) == 2000:
            enough.set()
        await asyncio.Event().wait()

    traffic = asyncio.create_task(dispatcher.run(arrivals, hanging_request))
    await enough.wait()
    traffic.cancel()
    await dispatcher.finish(0.0)
    seconds = started[-1] - 1000.0
    # The standard deviation of a Poisson count is its square root.
    assert abs(2000 - RATE_PER_S * seconds) < 3 * math.sqrt(2000)
    assert statistics.dropped == 0


async def test_arrivals_beyond_the_limit_are_dropped_and_counted() -> None:
    statistics = Statistics()
    dispatcher = Dispatcher(3, statistics)
    for _ in range(10):
        dispatcher.start(math.inf, asyncio.Event().wait)  # type: ignore[arg-type]
    assert (dispatcher.under_way, statistics.dropped) == (3, 7)
    await dispatcher.finish(0.0)
    assert dispatcher.under_way == 0


async def test_a_freed_place_takes_the_next_arrival() -> None:
    statistics = Statistics()
    dispatcher = Dispatcher(1, statistics)
    dispatcher.start(math.inf, nothing)
    await dispatcher.finish(5.0)
    dispatcher.start(math.inf, nothing)
    assert statistics.dropped == 0
    await dispatcher.finish(5.0)


@pytest.mark.parametrize(("delay_s", "late"), [(0.9, 0), (1.1, 1)])
async def test_work_that_starts_a_second_after_its_arrival_is_late(delay_s: float, late: int) -> None:
    time, statistics = FakeTime(), Statistics()
    dispatcher = Dispatcher(1, statistics, time.clock)
    dispatcher.start(time.now - delay_s, nothing)
    await dispatcher.finish(5.0)
    assert statistics.late == late


async def test_an_unexpected_error_is_counted_and_traffic_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    statistics = Statistics()
    dispatcher = Dispatcher(2, statistics)

    async def mistake() -> None:
        raise ZeroDivisionError("a mistake in the generator")

    dispatcher.start(math.inf, mistake)
    dispatcher.start(math.inf, nothing)
    await dispatcher.finish(5.0)
    assert statistics.errors == 1
    assert "ZeroDivisionError" in caplog.text


async def test_finishing_gives_up_what_takes_too_long() -> None:
    dispatcher = Dispatcher(2, Statistics())
    cancelled: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    dispatcher.start(math.inf, endless)
    # One step, so that it has begun.
    await asyncio.sleep(0)
    await dispatcher.finish(0.0)
    assert cancelled == [True]


async def nothing() -> None:
    """Work that is done at once."""
