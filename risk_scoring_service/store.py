"""Stores of this service: PostgreSQL and Redis, with their failures as the platform's errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import orjson
from redis import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, IntegrityError, NotSupportedError, SQLAlchemyError

from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.events import ModerationRequest
from gourmetgram.features.online import ImageCounts, ImageFacts, read_image_facts, read_window_counts
from risk_scoring_service.decide import Decision

# Rows are sent as one JSON text: no per-value quoting in the client, one statement for any size of batch. Two replicas
# that store the same requests do so in the same order, so they wait for each other instead of deadlocking.
_INSERT_SQL: Final = text("""
INSERT INTO moderation (
    inference_request_id, target_type, target_id, inference_mode, model_version, risk_score, recommendation,
    trigger_type, policy_version, rationale, features, model_score
)
SELECT
    r.request_id, 'image', r.image_id, r.inference_mode, r.model_version, r.risk_score, r.recommendation,
    r.trigger, r.policy_version, r.rationale, r.features, r.model_score
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
    request_id uuid, image_id uuid, inference_mode text, model_version text, risk_score double precision,
    recommendation text, trigger text, policy_version text, rationale text, features jsonb,
    model_score double precision
)
ORDER BY r.request_id
ON CONFLICT (inference_request_id) DO NOTHING
RETURNING inference_request_id
""")
_PING_SQL: Final = text("SELECT 1")


class ServerError(TransientError):
    """A server is away or too slow.

    Args:
        server: `postgres`, `redis` or `kafka`.
        cause: error of the client library.
    """

    def __init__(self, server: str, cause: Exception) -> None:
        super().__init__(f"{server} cannot be used: {' '.join(str(cause).split())[:300]}")
        self.server = server


class DecisionStore:
    """Facts about images, and the table of decisions. Each statement is its own transaction.

    One connection is kept open, without a transaction. A broken connection fails one attempt, which the worker repeats.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Connection | None = None

    def facts(self, requests: Sequence[ModerationRequest]) -> list[ImageFacts | None]:
        """See `read_image_facts`.

        Raises:
            ServerError: PostgreSQL is away.
            PermanentError: a value of these requests or of their rows cannot be used.
        """
        with self._connection() as connection:
            return read_image_facts(connection, requests)

    def insert(self, decisions: Sequence[Decision]) -> set[str]:
        """Store decisions; those whose request was decided before stay as they are.

        Returns:
            The request ids of the rows that are new, committed when this returns.

        Raises:
            ServerError: PostgreSQL is away; some or all rows may be stored nevertheless.
            PermanentError: a value cannot be stored.
        """
        rows = orjson.dumps([_row(decision) for decision in decisions]).decode()
        with self._connection() as connection:
            return {str(request_id) for (request_id,) in connection.execute(_INSERT_SQL, {"rows": rows})}

    def ping(self) -> None:
        """Check that PostgreSQL answers.

        Raises:
            ServerError: PostgreSQL is away.
        """
        with self._connection() as connection:
            connection.execute(_PING_SQL)

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            if self._kept is None:
                self._kept = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            yield self._kept
        except (DataError, IntegrityError, NotSupportedError) as error:
            raise PermanentError(f"PostgreSQL refuses a value: {error.orig}") from error
        except SQLAlchemyError as error:
            self._drop()
            raise ServerError("postgres", error) from error

    def _drop(self) -> None:
        if self._kept is not None:
            # Not returned to the pool: its state is unknown.
            self._kept.invalidate()
            self._kept.close()
            self._kept = None


class RedisCounts:
    """Window counts in Redis, for requests that do not carry all counts."""

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers

    def counts(self, requests: Sequence[ModerationRequest]) -> list[ImageCounts]:
        """See `read_window_counts`.

        Raises:
            ServerError: Redis is away, or its state was written with another list of servers.
        """
        try:
            self._servers.check()
            return read_window_counts(self._servers.of_image, requests)
        except (RedisError, TransientError) as error:
            raise ServerError("redis", error) from error

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()


def _row(decision: Decision) -> dict[str, object]:
    return {
        "request_id": decision.request.request_id,
        "image_id": decision.request.image_id,
        "trigger": decision.request.trigger,
        "inference_mode": decision.inference_mode,
        "model_version": decision.model_version,
        "risk_score": decision.risk_score,
        "recommendation": decision.recommendation,
        "policy_version": decision.policy_version,
        "rationale": decision.rationale,
        "features": decision.features,
        "model_score": decision.model_score,
    }
