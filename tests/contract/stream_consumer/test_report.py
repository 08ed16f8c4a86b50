"""Section 8 of the contract: the consumer's log lines, to the letter."""

import re

import httpx
import pytest

from stream_consumer.report import LineLimit
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


def test_every_line_of_the_lab_is_written_to_the_letter(platform: ConsumerPlatform) -> None:
    image, start = platform.insert_image(), now_us()
    short = image[:8]
    with platform.process() as process:
        process.wait_healthy()
        events = [event("upload", image, start)]
        events += [event("view", image, start + number) for number in range(110)]
        events += [event("comment", image, start + number) for number in range(10)]
        events += [event("flag", image, start + number) for number in range(2)]
        platform.publish(events)
        platform.wait_settled()
        assert process.terminate() == 0
    lines = process.messages
    for expected in (
        f"🎯 MILESTONE REACHED! Image {short}... hit 10 total views",
        f"🎯 MILESTONE REACHED! Image {short}... hit 100 total views",
        f"⭐ POPULAR POST! Image {short}... received 50 views in 1 hour",
        f"🔥 VIRAL CONTENT ALERT! Image {short}... received 100 views in 5 minutes (threshold: 100)",
        f"⚠️ SUSPICIOUS ACTIVITY ALERT! Image {short}... received 10 comments in 1 minute (threshold: 10)",
        f"🚩 FLAGGED CONTENT ALERT! Image {short}... received 2 flags in 5 minutes (threshold: 2)",
        f"Published moderation request for {short}... (trigger: viral)",
        f"Published moderation request for {short}... (trigger: suspicious)",
        f"Published moderation request for {short}... (trigger: flagged)",
    ):
        assert lines.count(expected) == 1, expected
    alerts = [line for line in process.log.splitlines() if "ALERT!" in line]
    assert len(alerts) == 3
    form = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - [\w.]+ - WARNING - .+"
    assert all(re.fullmatch(form, line) for line in alerts)


def test_thresholds_are_the_configured_ones(platform: ConsumerPlatform) -> None:
    image, start = new_image(), now_us()
    changes = {
        "VIRAL_THRESHOLD_VIEWS_5MIN": "7",
        "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "3",
        "FLAGGED_THRESHOLD_FLAGS_5MIN": "1",
    }
    platform.publish([event("view", image, start + number) for number in range(9)])
    platform.publish([event("comment", image, start + number) for number in range(4)])
    platform.publish([event("flag", image, start)])
    with platform.process(**changes) as process:
        platform.wait_settled()
        process.terminate()
    text = process.log
    assert "received 7 views in 5 minutes (threshold: 7)" in text
    assert "received 3 comments in 1 minute (threshold: 3)" in text
    assert "received 1 flags in 5 minutes (threshold: 1)" in text


def test_the_start_tells_the_settings_without_passwords_and_the_end_the_statistics(platform: ConsumerPlatform) -> None:
    image, start = new_image(), now_us()
    with platform.process() as process:
        process.wait_healthy()
        platform.publish([event("flag", image, start + number) for number in range(3)])
        platform.publish([event("view", image, start)])
        platform.wait_settled()
        assert process.terminate() == 0
    text = process.log
    banner, _, statistics = text.partition("FINAL STATISTICS")
    for part in (platform.environment["KAFKA_CONSUMER_GROUP"], platform.topic("flag"), "100 views in 5 minutes"):
        assert part in banner
    assert "gourmetgram_postgres" not in text
    for line in (
        "Alerts flagged: 1",
        "Alerts viral: 0",
        f"Messages {platform.topic('flag')}: 3",
        f"Messages {platform.topic('view')}: 1",
        "Messages in total: 4",
    ):
        assert line in statistics


def test_progress_is_told_for_comments_flags_uploads_and_every_tenth_view(platform: ConsumerPlatform) -> None:
    image, start = new_image(), now_us()
    with platform.process() as process:
        process.wait_healthy()
        for number in range(9):
            platform.publish([event("view", image, start + number)])
            platform.wait_applied()
        assert not any(line.startswith("Views") for line in process.messages)
        platform.publish([event("view", image, start + 9)])
        platform.publish([event("upload", image, start), event("comment", image, start), event("flag", image, start)])
        short = image[:8]
        for line in (
            f"Views of image {short}...: 1m=10 5m=10 1h=10 total=10",
            f"Comments of image {short}...: 1m=1 5m=1 1h=1 total=1",
            f"Flags of image {short}...: 1m=1 5m=1 1h=1 total=1",
            f"Upload of image {short}...",
        ):
            process.wait_line(line)


def test_at_most_ten_progress_lines_a_second() -> None:
    now = [0.0]
    limit = LineLimit(clock=lambda: now[0])
    assert [limit.take(4), limit.take(4), limit.take(4), limit.take(4)] == [4, 4, 2, 0]
    now[0] = 1.0
    assert limit.take(40) == 10


def test_a_wrong_setting_refuses_to_start_and_names_the_variable(platform: ConsumerPlatform) -> None:
    with platform.process(VIRAL_THRESHOLD_VIEWS_5MIN="many", RESCORE_AT_MINUTES="5,0") as process:
        assert process.popen.wait(30) == 2
    assert "VIRAL_THRESHOLD_VIEWS_5MIN" in process.log
    assert "RESCORE_AT_MINUTES" in process.log
    assert "Traceback" not in process.log


def test_health_and_metrics_tell_what_was_done(platform: ConsumerPlatform) -> None:
    image, start = new_image(), now_us()
    with platform.process() as process:
        process.wait_healthy()
        platform.publish([event("view", image, start + number) for number in range(110)])
        platform.publish([event("view", image, start, actor_eligible=False)])
        platform.publish_raw(platform.topic("view"), b"{")
        platform.wait_settled()

        def metrics() -> str:
            return httpx.get(f"http://127.0.0.1:{process.port}/metrics", timeout=5).text

        wanted = (
            'gourmetgram_consumer_events_processed_total{kind="view"} 111.0',
            'gourmetgram_consumer_events_ineligible_total{kind="view"} 1.0',
            f'gourmetgram_consumer_dead_letters_total{{topic="{platform.topic("view")}"}} 1.0',
            'gourmetgram_consumer_requests_total{trigger="viral"} 1.0',
            f'gourmetgram_consumer_lag_records{{partition="0",topic="{platform.topic("view")}"}} 0.0',
        )
        wait_until(lambda: all(line in metrics() for line in wanted), 20, "the metrics")
        assert process.health_body() == {
            "status": "healthy",
            "checks": {"redis": True, "broker": True, "polling": True, "progress": True},
            "waiting_for": None,
        }
