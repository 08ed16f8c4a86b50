"""Process of a worker: runs its loop until a signal, and exits in time, also while servers are away."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

from gourmetgram.collector import freeze_heap
from gourmetgram.errors import PlatformError

log = logging.getLogger(__name__)


def run_until_signalled(
    title: str, run: Callable[[threading.Event], None], finish: Callable[[], None], leave_after_s: float
) -> int:
    """Run a worker's loop in a thread until SIGTERM or SIGINT.

    Args:
        title: name of the worker, for the log.
        run: the loop; it returns soon after the event is set.
        finish: last step of the process. It also runs when the loop is stuck, so it must not wait for a server.
        leave_after_s: longest wait for the loop after a signal, seconds. A stuck loop has committed nothing of its
            current batch, which is read again.

    Returns:
        The exit status: 0 after a signal, 1 when the loop ended with an error.
    """
    # A signal handler may fill a SimpleQueue, but must not set an Event.
    endings: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: endings.put(0))
    stop = threading.Event()

    def work() -> None:
        try:
            run(stop)
        except PlatformError as error:
            log.critical("%s cannot go on: %s", title, error)
            endings.put(1)
        except Exception:  # outermost loop: an unknown error ends the process, and a supervisor restarts it
            log.exception("%s cannot go on", title)
            endings.put(1)

    freeze_heap()
    # Not the main thread: it must handle signals even while the loop waits inside a call of a client library.
    worker = threading.Thread(target=work, name="worker", daemon=True)
    worker.start()
    status = endings.get()
    stop.set()
    worker.join(leave_after_s)
    if worker.is_alive():
        log.warning("A server did not answer in time: exiting without the current batch, which stays uncommitted")
    finish()
    if worker.is_alive() or status:
        logging.shutdown()
        # A normal exit would wait for the threads of client libraries, and those for their servers.
        os._exit(status)
    return status
