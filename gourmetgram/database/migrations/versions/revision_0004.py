"""Record of erasures, and indexes for the removal of decisions."""

from typing import Final

from alembic import op
from sqlalchemy import text

revision: Final = "0004"
down_revision: Final = "0003"

_INDEXES: Final = {
    "idx_comments_moderator_action_id": "comments (moderator_action_id) WHERE moderator_action_id IS NOT NULL",
    "idx_flags_moderation_action_id": "flags (moderation_action_id) WHERE moderation_action_id IS NOT NULL",
}


def upgrade() -> None:
    """Create what is missing; a new index reads its table once."""
    op.execute("""
        CREATE TABLE IF NOT EXISTS erasures (
            id             UUID PRIMARY KEY DEFAULT gen_random_uuid(),
            subject_type   VARCHAR(10) NOT NULL,
            subject_digest VARCHAR(64) NOT NULL,
            subject_id     UUID,
            image_ids      UUID[] NOT NULL DEFAULT '{}',
            row_ids        UUID[] NOT NULL DEFAULT '{}',
            models         TEXT[] NOT NULL DEFAULT '{}',
            created_at     TIMESTAMPTZ NOT NULL DEFAULT NOW(),
            completed_at   TIMESTAMPTZ,
            CONSTRAINT chk_erasures_subject_type CHECK (subject_type IN ('user', 'image')),
            CONSTRAINT chk_erasures_ids_until_complete CHECK (
                CASE WHEN completed_at IS NULL THEN subject_id IS NOT NULL
                     ELSE subject_id IS NULL AND image_ids = '{}' AND row_ids = '{}' END
            )
        )
    """)
    op.execute("""
        CREATE UNIQUE INDEX IF NOT EXISTS idx_erasures_open ON erasures (subject_type, subject_digest)
        WHERE completed_at IS NULL
    """)
    connection = op.get_bind()
    for name, place in _INDEXES.items():
        # CREATE INDEX locks its table even when the index exists, and APIs may be writing.
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is None:
            op.execute(f"CREATE INDEX {name} ON {place}")
