"""The tables of docker/init_sql, on an empty database or one that was made before there were revisions.

Older forms of docker/init_sql differ from today's in one table only, `abandoned_uploads`.
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
    # Where the last object exists, all of them do. The script would change nothing then, but even an index that exists
    # makes CREATE INDEX lock its table, and APIs may be writing.
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": _ITS_LAST_OBJECT}) is None:
        connection.exec_driver_sql(_OLDEST_FORM.read_text(encoding="utf-8"))
    op.execute("""
        CREATE TABLE IF NOT EXISTS abandoned_uploads (
            image_id     UUID PRIMARY KEY,
            abandoned_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
        )
    """)
