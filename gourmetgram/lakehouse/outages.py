"""Errors of the lakehouse's servers, as sentences of the platform."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaException
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    CommitFailedException,
    CommitStateUnknownException,
    ForbiddenError,
    OAuthError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
)
from requests import RequestException
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from gourmetgram.errors import PermanentError, TransientError


class ChangedMeanwhileError(TransientError):
    """Another writer committed to the table first; this commit changed nothing. Load the table and start over."""


class CatalogLoginError(PermanentError):
    """A REST catalog answers, and refuses the login."""


_REFUSED_LOGINS: Final = (UnauthorizedError, ForbiddenError, OAuthError)
# A server that fails during a commit may have made it.
_AWAY: Final = (
    RequestException,
    CommitStateUnknownException,
    ServerError,
    ServiceUnavailableError,
    TooManyRequestsError,
    AuthorizationExpiredError,
)


@contextmanager
def named_outages(task: str) -> Iterator[None]:
    """Turn the libraries' errors about absent or slow servers into the platform's errors.

    Args:
        task: the failure in words, as the beginning of the sentence.

    Raises:
        TransientError: PostgreSQL, the REST catalog, the broker or the object store is away.
        CatalogLoginError: the REST catalog refused the login.
        PermanentError: PostgreSQL or the REST catalog refused, or a file that a table needs is missing.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise TransientError(f"{task}: PostgreSQL is away or too slow: {_first_line(error)}") from error
    except DBAPIError as error:
        raise PermanentError(f"{task}: PostgreSQL refused: {_first_line(error)}") from error
    except CommitFailedException as error:
        raise ChangedMeanwhileError(f"{task}: another writer changed the table at the same time: {error}") from error
    except _REFUSED_LOGINS as error:
        raise CatalogLoginError(f"{task}: the Iceberg catalog refuses the login: {error}") from error
    except _AWAY as error:
        raise TransientError(f"{task}: the Iceberg catalog is away or too slow: {error}") from error
    except RESTError as error:
        raise PermanentError(f"{task}: the Iceberg catalog refuses: {error}") from error
    except KafkaException as error:
        raise TransientError(f"{task}: the broker is away or too slow: {error}") from error
    except FileNotFoundError as error:
        raise PermanentError(f"{task}: a file of the table is missing: {error}") from error
    except OSError as error:
        raise TransientError(f"{task}: the object store is away or too slow: {error}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
