"""Events as rows of the outbox: one definition of their form, for the API's live events and for a backfill."""

import re
from typing import Final

from gourmetgram.errors import SettingsError
from gourmetgram.events import EventKind
from gourmetgram.settings import KafkaSettings

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

_KEY: Final[dict[EventKind, str]] = {
    "upload": "id",
    "view": "image_id",
    "comment": "image_id",
    "flag": "target_image_id",
}
_TIME: Final[dict[EventKind, str]] = {
    "upload": "created_at",
    "view": "viewed_at",
    "comment": "created_at",
    "flag": "created_at",
}
_FIELDS: Final[dict[EventKind, str]] = {
    "upload": """'image_id', id, 'user_id', user_id, 'category', category, 'caption', caption,
               's3_url', s3_url, 'actor_eligible', actor_eligible""",
    # Views are anonymous, so every view is eligible.
    "view": "'image_id', image_id, 'actor_eligible', TRUE",
    "comment": """'comment_id', id, 'image_id', image_id, 'user_id', user_id, 'content', content,
               'actor_eligible', actor_eligible""",
    # A flag of a comment concerns the comment's image.
    "flag": """'flag_id', id, 'user_id', user_id, 'image_id', target_image_id, 'comment_id', comment_id,
               'reason', reason, 'actor_eligible', actor_eligible""",
}

REPLAY: Final = "UPDATE event_outbox SET published_at = NULL WHERE published_at >= :since"
"""Makes the relay publish the events again that it has published since a time, in their order and with their ids."""

INSERT_EVENTS: Final = "INSERT INTO event_outbox (event_id, topic, message_key, payload, created_at)"
"""Beginning of an insert. `select_events` gives the rest: rows in the order of publication."""


def topics_by_kind(settings: KafkaSettings) -> dict[EventKind, str]:
    """The topic of each kind of event.

    Raises:
        SettingsError: a setting is not a valid topic name.
    """
    topics: dict[EventKind, str] = {
        "upload": settings.kafka_topic_uploads,
        "view": settings.kafka_topic_views,
        "comment": settings.kafka_topic_comments,
        "flag": settings.kafka_topic_flags,
    }
    for topic in topics.values():
        if not _TOPIC.fullmatch(topic):
            raise SettingsError(f"'{topic}' cannot be the name of a topic.")
    return topics


def select_events(kind: EventKind, topic: str, source: str) -> str:
    """Build a query for outbox rows, one per row of `source` and in its order.

    Args:
        kind: kind of the events.
        topic: checked by `topics_by_kind`.
        source: a query for `event_id` and, by kind:

            - upload: id, user_id, s3_url, caption, category, created_at, actor_eligible
            - view: image_id, viewed_at
            - comment: id, image_id, user_id, content, created_at, actor_eligible
            - flag: id, user_id, comment_id, target_image_id, reason, created_at, actor_eligible
    """
    time = _TIME[kind]
    return f"""SELECT event_id, '{topic}', {_KEY[kind]}::text,
           jsonb_build_object(
               'event_type', '{kind}', 'event_id', event_id,
               '{time}', to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
               {_FIELDS[kind]}
           ),
           {time}
    FROM ({source}) AS identified"""  # noqa: S608 - made of constants and a checked name
