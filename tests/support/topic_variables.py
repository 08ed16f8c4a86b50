"""The environment variables that name the six topics."""

TOPIC_VARIABLES = {
    "view": "KAFKA_TOPIC_VIEWS",
    "comment": "KAFKA_TOPIC_COMMENTS",
    "flag": "KAFKA_TOPIC_FLAGS",
    "upload": "KAFKA_TOPIC_UPLOADS",
}
EVENT_TOPICS = tuple(TOPIC_VARIABLES.values())
OTHER_TOPICS = ("MODERATION_TOPIC", "DEAD_LETTER_TOPIC")
