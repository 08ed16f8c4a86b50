"""The transactional outbox: events are written by the statements that write the rows, or not at all.

The relay (relay.py) publishes them afterwards.
"""

from api_v1.statements import EventSql
from gourmetgram.database.outbox import INSERT_EVENTS, select_events, topics_by_kind
from gourmetgram.events import EventKind
from gourmetgram.settings import KafkaSettings


def event_sql(settings: KafkaSettings) -> EventSql:
    """Table expressions that write one event per new row.

    Raises:
        SettingsError: a topic's name is not valid.
    """
    topics = topics_by_kind(settings)
    return EventSql(**{kind: _insert(kind, topic) for kind, topic in topics.items()})


def _insert(kind: EventKind, topic: str) -> str:
    new = "SELECT *, gen_random_uuid() AS event_id FROM new ORDER BY n"
    return f""",
event AS (
    {INSERT_EVENTS}
    {select_events(kind, topic, new)}
)"""
