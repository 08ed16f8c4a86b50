"""The transactional outbox: events are written by the statements that write the rows, or not at all.

The relay (relay.py) publishes them afterwards.
"""

import re
from typing import Final

from api_v1.statements import EventSql
from gourmetgram.errors import SettingsError
from gourmetgram.settings import KafkaSettings

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def event_sql(settings: KafkaSettings) -> EventSql:
    """Table expressions that write one event per new row.

    Raises:
        SettingsError: a topic's name is none.
    """
    return EventSql(
        upload=_insert(
            settings.kafka_topic_uploads,
            key="id",
            time="created_at",
            event_type="upload",
            fields="""'image_id', id, 'user_id', user_id, 'category', category, 'caption', caption,
                      's3_url', s3_url, 'actor_eligible', actor_eligible""",
        ),
        view=_insert(
            settings.kafka_topic_views,
            key="image_id",
            time="viewed_at",
            event_type="view",
            # Views are anonymous, so nobody's view is excluded.
            fields="'image_id', image_id, 'actor_eligible', TRUE",
        ),
        comment=_insert(
            settings.kafka_topic_comments,
            key="image_id",
            time="created_at",
            event_type="comment",
            fields="""'comment_id', id, 'image_id', image_id, 'user_id', user_id, 'content', content,
                      'actor_eligible', actor_eligible""",
        ),
        flag=_insert(
            settings.kafka_topic_flags,
            key="target_image_id",
            time="created_at",
            event_type="flag",
            # A flag of a comment concerns the comment's image.
            fields="""'flag_id', id, 'user_id', user_id, 'image_id', target_image_id, 'comment_id', comment_id,
                      'reason', reason, 'actor_eligible', actor_eligible""",
        ),
    )


def _insert(topic: str, *, key: str, time: str, event_type: str, fields: str) -> str:
    if not _TOPIC.fullmatch(topic):
        raise SettingsError(f"'{topic}' cannot be the name of a topic.")
    return f""",
event AS (
    INSERT INTO event_outbox (event_id, topic, message_key, payload, created_at)
    SELECT event_id, '{topic}', {key}::text,
           jsonb_build_object(
               'event_type', '{event_type}', 'event_id', event_id,
               '{time}', to_char({time}, 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
               {fields}
           ),
           {time}
    FROM (SELECT *, gen_random_uuid() AS event_id FROM new ORDER BY n) AS identified
)"""  # noqa: S608 - made of constants and a checked name
