"""Record of erasures."""

from typing import Final

from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE erasures (
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
    op.execute(
        "CREATE UNIQUE INDEX idx_erasures_open ON erasures (subject_type, subject_digest) WHERE completed_at IS NULL"
    )
