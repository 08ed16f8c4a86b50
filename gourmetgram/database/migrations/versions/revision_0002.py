"""The database's own id, and an index for the time of the oldest unpublished event."""

from typing import Final

from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Create what is missing; the index reads the outbox once, and requests that write events wait meanwhile."""
    op.execute("""
        CREATE TABLE IF NOT EXISTS installation (
            id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
            sweeps     BIGINT NOT NULL DEFAULT 0,
            created_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
        )
    """)
    op.execute("CREATE UNIQUE INDEX IF NOT EXISTS idx_installation_one ON installation ((TRUE))")
    op.execute("INSERT INTO installation DEFAULT VALUES ON CONFLICT DO NOTHING")
    op.execute("""
        CREATE INDEX IF NOT EXISTS idx_event_outbox_unpublished_created ON event_outbox (created_at)
        WHERE published_at IS NULL
    """)
