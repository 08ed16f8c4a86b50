"""Entry point: `python -m stream_consumer`."""

import sys
from typing import Final

from gourmetgram.errors import SettingsError
from gourmetgram.observability import configure_logging
from gourmetgram.worker_process import run_until_signalled
from stream_consumer.service import StreamConsumer
from stream_consumer.settings import ConsumerSettings

_LEAVE_AFTER_S: Final = 4.5
"""Longest wait for the loop after a signal, seconds. All state is in Redis, so leaving is safe at any point."""


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
    return run_until_signalled("The stream consumer", consumer.run, consumer.final_statistics, _LEAVE_AFTER_S)
