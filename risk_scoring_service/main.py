"""Entry point: settings, logs, health, then the loop until SIGTERM or SIGINT."""

import logging
import os
import signal
import sys
import threading
from queue import SimpleQueue

from gourmetgram.collector import freeze_heap
from gourmetgram.errors import SettingsError
from gourmetgram.observability import configure_logging
from gourmetgram.settings import LogSettings
from risk_scoring_service.service import Configuration, ScoringService

log = logging.getLogger(__name__)

STOP_WITHIN_S = 4.0
"""After a signal the batch at hand gets this long. One cut off is not committed and will be read again."""


def main() -> int:
    """Run the service.

    Returns:
        The exit status: 0 after a signal, 1 when the service could not go on, 2 for wrong settings.
    """
    try:
        configure_logging(LogSettings.load().log_level)
        configuration = Configuration.load()
    except SettingsError as error:
        sys.stderr.write(f"risk_scoring_service does not start. {error}\n")
        return 2
    configuration.log_banner()
    return _run(ScoringService(configuration))


def _run(service: ScoringService) -> int:
    # A queue that may be filled from a signal handler, which an Event may not.
    endings: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: endings.put(0))
    stop = threading.Event()

    def work() -> None:
        try:
            service.run(stop)
        except Exception:  # outermost loop: whatever went wrong ends the process, and a supervisor starts it anew
            log.exception("The risk scoring service cannot go on")
            endings.put(1)

    service.start()
    freeze_heap()
    # Apart from the main thread, which must see signals even while the worker waits inside a database call.
    worker = threading.Thread(target=work, name="worker", daemon=True)
    worker.start()
    status = endings.get()
    stop.set()
    worker.join(STOP_WITHIN_S)
    if worker.is_alive():
        log.warning("A server does not answer; stopping without the batch at hand, which stays uncommitted")
        logging.shutdown()
        # A normal exit would wait for the libraries' threads, and those for the server.
        os._exit(status)
    service.close()
    log.info("Stopped")
    return status
