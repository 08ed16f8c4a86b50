"""Answers to requests with an Idempotency-Key."""

from typing import Final

from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"


def upgrade() -> None:
    """Create the table of the answers, unless docker/init_sql was applied by hand."""
    op.execute("""
        CREATE TABLE IF NOT EXISTS idempotency_keys (
            key         VARCHAR(255) PRIMARY KEY,
            fingerprint BYTEA NOT NULL,
            status      SMALLINT NOT NULL,
            body        TEXT NOT NULL,
            created_at  TIMESTAMPTZ NOT NULL DEFAULT NOW()
        )
    """)
    op.execute("CREATE INDEX IF NOT EXISTS idx_idempotency_keys_created_at ON idempotency_keys (created_at)")
