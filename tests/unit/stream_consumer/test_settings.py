"""Settings of the stream consumer: the contract's defaults, and sentences for what does not fit."""

import pytest

from gourmetgram.errors import SettingsError
from stream_consumer.settings import ConsumerSettings


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = ConsumerSettings.load({})
    assert settings.kafka_consumer_group == "gourmetgram-stream-consumer"
    assert settings.topics == (
        "gourmetgram.views",
        "gourmetgram.comments",
        "gourmetgram.uploads",
        "gourmetgram.flags",
    )
    assert (settings.moderation_topic, settings.dead_letter_topic) == (
        "gourmetgram.moderation_requests",
        "gourmetgram.dead_letter",
    )
    assert settings.viral_threshold_views_5min == 100
    assert settings.suspicious_threshold_comments_1min == 10
    assert settings.flagged_threshold_flags_5min == 2
    assert settings.popular_threshold_views_1hr == 50
    assert settings.trigger_on_upload is False
    assert settings.rescore_at_minutes == ()
    assert settings.consumer_max_poll_records == 500
    assert settings.health_port == 9101


def test_lists_are_separated_by_commas() -> None:
    settings = ConsumerSettings.load(
        {"RESCORE_AT_MINUTES": "5, 30", "KAFKA_TOPICS": "a,b", "TRIGGER_ON_UPLOAD": "true"}
    )
    assert settings.rescore_at_minutes == (5, 30)
    assert settings.topics == ("a", "b")
    assert settings.trigger_on_upload is True


def test_renamed_topics_are_read_when_no_list_is_given() -> None:
    assert "my.views" in ConsumerSettings.load({"KAFKA_TOPIC_VIEWS": "my.views"}).topics


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VIRAL_THRESHOLD_VIEWS_5MIN", "0"),
        ("FLAGGED_THRESHOLD_FLAGS_5MIN", "two"),
        ("RESCORE_AT_MINUTES", "5,soon"),
        ("RESCORE_AT_MINUTES", "0"),
        ("TRIGGER_ON_UPLOAD", "maybe"),
        ("CONSUMER_MAX_POLL_RECORDS", "0"),
        ("REDIS_PORT", "99999"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        ConsumerSettings.load({variable: value})
