"""Logging of an API process: the lab's format, and request lines as pure JSON."""

import logging

from api_v1.middleware import request_log
from gourmetgram.observability import configure_logging


def configure_api_logging(level: str) -> None:
    """Set up the root logger, the request log, and silence uvicorn's own access log (it would be a second line)."""
    configure_logging(level)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    request_log.handlers = [handler]
    request_log.propagate = False
    # The form parser logs every odd form; the request line already gives the result.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
