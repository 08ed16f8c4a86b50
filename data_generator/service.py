"""Wiring: the only place where the generator's parts are built and put together."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from data_generator.arrivals import Dispatcher, PoissonArrivals
from data_generator.bootstrap import create_initial, learn, wait_until_ready
from data_generator.burst import simulate_viral
from data_generator.client import ApiCallError, ApiClient
from data_generator.dataset import open_pictures
from data_generator.handlers import Actors, random_event
from data_generator.people import People
from data_generator.settings import GeneratorSettings
from data_generator.statistics import Statistics
from data_generator.texts import Texts
from data_generator.world import World
from gourmetgram.observability import HealthServer

SUCCESS: Final = 0
FAILURE: Final = 1

SECONDS_PER_HOUR: Final = 3600.0
STATISTICS_EVERY_S: Final = 300.0

MAX_UNDER_WAY: Final = 1000
"""Largest number of requests in flight. It bounds memory (an upload holds its picture) and sockets."""

FINISH_WITHIN_S: Final = 2.0
"""Longest wait for requests in flight at a stop; the process has to end within 5 seconds."""

_PULSE_S: Final = 1.0
_PULSE_MISSED_AFTER_S: Final = 30.0

T = TypeVar("T")

log = logging.getLogger(__name__)


@asynccontextmanager
async def build_actors(settings: GeneratorSettings, rng: random.Random) -> AsyncIterator[Actors]:
    """Build the parts that events share, and close them at the end."""
    api = ApiClient(settings.generator_api_url, settings.generator_request_timeout, MAX_UNDER_WAY)
    texts = Texts(rng)
    actors = Actors(
        api=api,
        people=People(api, settings, texts, rng),
        pictures=open_pictures(settings.generator_dataset_path),
        texts=texts,
        world=World.empty(),
        statistics=Statistics(),
        rng=rng,
    )
    try:
        yield actors
    finally:
        await api.close()


async def run_poisson(settings: GeneratorSettings, stop: asyncio.Event, rng: random.Random) -> int:
    """Send traffic until `stop` is set.

    Returns:
        the exit code.
    """
    async with build_actors(settings, rng) as actors, _health(settings), _in_background(_log_statistics(actors)):
        dispatcher = Dispatcher(MAX_UNDER_WAY, actors.statistics)
        await _until_stopped(_traffic(settings, actors, dispatcher), stop)
        await dispatcher.finish(FINISH_WITHIN_S)
        log.info("Final statistics: %s; %s", actors.statistics.summary(), actors.world.sizes())
    return SUCCESS


async def _traffic(settings: GeneratorSettings, actors: Actors, dispatcher: Dispatcher) -> None:
    await wait_until_ready(actors.api, settings.generator_api_url)
    await learn(actors.api, actors.world)
    await create_initial(actors, settings)
    rate = settings.generator_arrival_rate
    log.info("Poisson traffic begins: %g events per hour", rate)
    arrivals = PoissonArrivals(rate / SECONDS_PER_HOUR, actors.rng)
    await dispatcher.run(arrivals, lambda: random_event(actors))


async def run_burst(settings: GeneratorSettings, stop: asyncio.Event, rng: random.Random) -> int:
    """Send a viral burst to one image.

    Returns:
        the exit code: 1 when a call failed, or when the burst was stopped before its end.
    """
    async with build_actors(settings, rng) as actors:
        complete = await _until_stopped(_burst(settings, actors), stop)
    return SUCCESS if complete else FAILURE


async def _burst(settings: GeneratorSettings, actors: Actors) -> bool:
    try:
        await wait_until_ready(actors.api, settings.generator_api_url, settings.generator_request_timeout)
    except ApiCallError as error:
        log.error("The API is not ready, so there is no burst: %s", error)
        return False
    return await simulate_viral(actors, settings)


async def _until_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """Await the work; setting `stop` cancels it.

    Returns:
        the work's result; None when it was stopped.
    """
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        for unfinished in (task, stopped):
            unfinished.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the body, and cancel it at the body's end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _log_statistics(actors: Actors) -> None:
    while True:
        await asyncio.sleep(STATISTICS_EVERY_S)
        log.info("Statistics: %s; %s", actors.statistics.summary(), actors.world.sizes())


class Pulse:
    """Heartbeat of the event loop, for `/health`. While the API is away the generator waits and stays healthy."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def beat(self) -> None:
        """Store the time of a beat, for ever."""
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(_PULSE_S)

    def alive(self) -> bool:
        """Return whether the last beat is recent."""
        return time.monotonic() - self._last < _PULSE_MISSED_AFTER_S


@asynccontextmanager
async def _health(settings: GeneratorSettings) -> AsyncIterator[None]:
    """Serve `/health` and `/metrics` while the body runs."""
    pulse = Pulse()
    server = HealthServer(settings.health_host, settings.health_port, {"running": pulse.alive})
    server.start()
    try:
        async with _in_background(pulse.beat()):
            yield
    finally:
        server.stop()
