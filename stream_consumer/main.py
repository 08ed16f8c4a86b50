"""Entry point: `python -m stream_consumer`."""

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

from gourmetgram.collector import freeze_heap
from gourmetgram.errors import SettingsError
from gourmetgram.observability import configure_logging
from stream_consumer.service import StreamConsumer
from stream_consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)

_LEAVE_AFTER_S: Final = 4.5


def main() -> int:
    """Run until SIGINT or SIGTERM.

    Returns:
        The exit code: 0 after a signal, 2 when a setting is wrong.
    """
    try:
        settings = ConsumerSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log_level)
    consumer = StreamConsumer(settings)
    stop = threading.Event()

    def leave() -> None:
        # A server that hangs cannot hold this process: all that counts is in Redis, so leaving is safe at any point.
        log.warning("A server did not answer in time: leaving without it")
        consumer.final_statistics()
        logging.shutdown()
        os._exit(0)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            watchdog = threading.Timer(_LEAVE_AFTER_S, leave)
            watchdog.daemon = True
            watchdog.start()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    freeze_heap()
    consumer.run(stop)
    return 0
