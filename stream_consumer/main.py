"""Entry point: `python -m stream_consumer`."""

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Final, NoReturn

from gourmetgram.collector import freeze_heap
from gourmetgram.errors import PlatformError, SettingsError
from gourmetgram.observability import configure_logging
from stream_consumer.service import StreamConsumer
from stream_consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)

_LEAVE_AFTER_S: Final = 4.5


def main() -> int:
    """Run until SIGINT or SIGTERM.

    Returns:
        The exit code: 0 after a signal, 1 when the consumer could not go on, 2 when a setting is wrong.
    """
    try:
        settings = ConsumerSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log_level)
    consumer = StreamConsumer(settings)
    stop = threading.Event()

    def leave(status: int) -> NoReturn:
        # No server is waited for: all state that counts is in Redis, so leaving is safe at any point.
        consumer.final_statistics()
        logging.shutdown()
        os._exit(status)

    def give_up() -> None:
        log.warning("A server did not answer in time: leaving without it")
        leave(0)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            watchdog = threading.Timer(_LEAVE_AFTER_S, give_up)
            watchdog.daemon = True
            watchdog.start()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    freeze_heap()
    try:
        consumer.run(stop)
    except PlatformError as error:
        log.critical("The stream consumer cannot go on: %s", error)
        leave(1)
    return 0
