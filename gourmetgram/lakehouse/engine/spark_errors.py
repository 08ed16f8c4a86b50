"""Errors of Spark, as sentences of the platform."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyspark.errors import (
    AnalysisException,
    ArithmeticException,
    ArrayIndexOutOfBoundsException,
    DateTimeException,
    IllegalArgumentException,
    PySparkException,
    UnsupportedOperationException,
)
from pyspark.errors.exceptions.connect import InvalidPlanInput, SparkConnectGrpcException

from gourmetgram.errors import PermanentError, TransientError, first_line

_REFUSALS: Final = (
    AnalysisException,
    ArithmeticException,
    ArrayIndexOutOfBoundsException,
    DateTimeException,
    IllegalArgumentException,
    InvalidPlanInput,
    UnsupportedOperationException,
)
"""Errors of a query itself. All others come from a server or its executors."""


@contextmanager
def named_failures(address: str) -> Iterator[None]:
    """Turn the errors of Spark's client into the platform's errors.

    Args:
        address: the server's, for the sentence.

    Raises:
        TransientError: the server is away, or a task on it failed.
        PermanentError: Spark refused a query, or a value has no place in its type.
    """
    with warnings.catch_warnings():
        # The client repeats the error that follows, and logs with a deprecated method.
        warnings.filterwarnings("ignore", message=r"\[RETRIES_EXCEEDED\]")
        warnings.filterwarnings("ignore", message="The 'warn' method is deprecated", category=DeprecationWarning)
        try:
            yield
        except _REFUSALS as error:
            raise PermanentError(f"Spark refused a query: {first_line(error)}") from error
        except SparkConnectGrpcException as error:
            raise TransientError(f"{_failure(address, error)}; run the task again") from error
        except PySparkException as error:
            raise PermanentError(f"Spark's client refused a query: {first_line(error)}") from error


def _failure(address: str, error: SparkConnectGrpcException) -> str:
    if error.getGrpcStatusCode().name == "UNAVAILABLE":
        return f"the Spark server {address} is away"
    return f"the Spark server {address} gave up: {first_line(error)}"
