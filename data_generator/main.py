"""Entry point: settings, logging, signals, and the choice of the mode."""

import asyncio
import logging
import random
import signal
import sys
from typing import Final

from data_generator.service import run_burst, run_poisson
from data_generator.settings import GeneratorSettings
from gourmetgram.errors import SettingsError
from gourmetgram.observability import configure_logging

_WRONG_USE: Final = 2
_FAILURE: Final = 1

_MODES: Final = {"poisson": run_poisson, "simulate_viral": run_burst}

log = logging.getLogger(__name__)


def main() -> int:
    """Run the generator; returns the exit code: 0 for success, 1 for a failure, 2 for a wrong setting."""
    try:
        settings = GeneratorSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG_USE
    configure_logging(settings.generator_log_level)
    # The generator logs its requests itself.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    log.info("Data generator starts: %s", _shown(settings))
    try:
        if settings.generator_mode == "backfill":
            return _backfill(settings)
        return asyncio.run(_run(settings))
    except OSError as error:
        log.error("The generator cannot start: %s", error)
        return _FAILURE


def _backfill(settings: GeneratorSettings) -> int:
    # Imported here: the clients of the stores are of no use to the modes that speak HTTP only.
    from data_generator.backfill.run import run_backfill

    # Both undo the transaction. Ctrl-C is named too: a shell starts what runs in its background without it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    return run_backfill(settings)


async def _run(settings: GeneratorSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await _MODES[settings.generator_mode](settings, stop, random.Random())


def _shown(settings: GeneratorSettings) -> str:
    """Settings of the mode as text for the log; none of them is a secret."""
    names = ["generator_api_url", "generator_dataset_path"]
    if settings.generator_mode == "poisson":
        names += ["generator_arrival_rate", "generator_initial_users", "generator_initial_images"]
    if settings.generator_mode == "backfill":
        names = [f"generator_backfill_{name}" for name in ("days", "images", "events", "seed", "truth_path")]
    values = ", ".join(f"{name.removeprefix('generator_')}={getattr(settings, name)}" for name in names)
    return f"mode={settings.generator_mode}, {values}"
