"""The tables of docker/init_sql, on an empty database or one that is older than the first revision.

Older forms of docker/init_sql differ from the present one in one table only, `abandoned_uploads`.
"""

from pathlib import Path
from typing import Final

from alembic import op
from sqlalchemy import text

revision: Final = "0001"
down_revision: Final = None

_OLDEST_FORM: Final = Path(__file__).with_suffix(".sql")
_ITS_LAST_OBJECT: Final = "moderation_decisions"


def upgrade() -> None:
    """Create what is missing."""
    connection = op.get_bind()
    # When the last object exists, all of them do, and the script would change nothing. But CREATE INDEX locks its table
    # even when the index exists, and APIs may be writing.
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": _ITS_LAST_OBJECT}) is None:
        connection.exec_driver_sql(_OLDEST_FORM.read_text(encoding="utf-8"))
    op.execute("""
        CREATE TABLE IF NOT EXISTS abandoned_uploads (
            image_id     UUID PRIMARY KEY,
            abandoned_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
        )
    """)
