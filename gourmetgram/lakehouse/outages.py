"""Errors of the lakehouse's servers, as sentences of the platform."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException
from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from gourmetgram.errors import PermanentError, TransientError


class ChangedMeanwhileError(TransientError):
    """Another writer committed to the table first; this commit changed nothing. Load the table and start over."""


@contextmanager
def named_outages(task: str) -> Iterator[None]:
    """Turn the libraries' errors about absent or slow servers into the platform's errors.

    Args:
        task: the failure in words, as the beginning of the sentence.

    Raises:
        TransientError: PostgreSQL, the broker or the object store is away.
        PermanentError: PostgreSQL refused, or a file that a table needs is missing.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise TransientError(f"{task}: PostgreSQL is away or too slow: {_first_line(error)}") from error
    except DBAPIError as error:
        raise PermanentError(f"{task}: PostgreSQL refused: {_first_line(error)}") from error
    except CommitFailedException as error:
        raise ChangedMeanwhileError(f"{task}: another writer changed the table at the same time: {error}") from error
    except KafkaException as error:
        raise TransientError(f"{task}: the broker is away or too slow: {error}") from error
    except FileNotFoundError as error:
        raise PermanentError(f"{task}: a file of the table is missing: {error}") from error
    except OSError as error:
        raise TransientError(f"{task}: the object store is away or too slow: {error}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
