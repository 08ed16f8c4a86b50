"""Engines with the platform's time-outs: no statement and no lock may block a service for ever."""

from typing import Final

from sqlalchemy import Engine, create_engine

from gourmetgram.settings import PostgresSettings

KEEPALIVES: Final = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2}
"""libpq's options for every connection: a server that vanished without closing it is noticed in about 15 seconds."""


def create_worker_engine(
    settings: PostgresSettings,
    application_name: str,
    *,
    pool_size: int = 2,
    statement_timeout_ms: int = 30_000,
    lock_timeout_ms: int = 10_000,
) -> Engine:
    """A synchronous engine (psycopg2) for workers and command-line tools.

    Connections are checked before use, so that a restarted server costs one retry and no failed batch.
    """
    return create_engine(
        settings.url("psycopg2"),
        pool_size=pool_size,
        max_overflow=2,
        pool_pre_ping=True,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            # Statements here are short; just-in-time compilation of one can cost more than its execution.
            "options": f"-c timezone=UTC -c jit=off -c statement_timeout={statement_timeout_ms} "
            f"-c lock_timeout={lock_timeout_ms}",
            **KEEPALIVES,
        },
    )
