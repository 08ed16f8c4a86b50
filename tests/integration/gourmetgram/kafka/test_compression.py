"""Topics with records of every codec: consumer, aggregation and audit read them alike."""

import struct
from collections.abc import Iterable
from typing import Final, get_args

import pytest

from gourmetgram.errors import SettingsError
from gourmetgram.kafka.clients import create_producer
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.local.stack import Stack
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.inspection_fixtures import Scene, aggregate_scene, small_platform_fixture  # noqa: F401
from tests.support.small_platform import SmallPlatform, lively_image

pytestmark = pytest.mark.servers

CODECS: Final[tuple[str, ...]] = get_args(KafkaSettings.model_fields["kafka_compression"].annotation)
NUMBERS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Numbers of the codecs in the header of a batch."""


def stored_codecs(stack: Stack, topics: Iterable[str]) -> set[int]:
    """Numbers of the codecs of all batches in the broker's files."""
    found = set()
    for file in (file for topic in topics for file in stack.folder.glob(f"**/{topic}-[0-9]/*.log")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            length, attributes = struct.unpack_from(">i9xh", content, place + 8)
            found.add(attributes & 7)
            place += 12 + length
    return found


def test_the_consumer_counts_records_of_all_codecs(platform: ConsumerPlatform, stack: Stack) -> None:
    image = new_image()
    for codec in CODECS:
        platform.producer = create_producer(
            KafkaSettings.load({**platform.environment, "KAFKA_COMPRESSION": codec}), "test"
        )
        # Similar enough for every codec: a batch that does not shrink is stored as it is.
        platform.publish([event("view", image, now_us() - number) for number in range(20)])
    assert stored_codecs(stack, [platform.topic("view")]) == set(NUMBERS.values())
    with platform.consumer():
        platform.wait_settled()
    assert platform.total(image, "views") == 20 * len(CODECS)


def test_aggregation_and_audit_read_records_of_all_codecs(small_platform: SmallPlatform, stack: Stack) -> None:
    kafka = small_platform.platform.kafka
    for codec in CODECS:
        other = kafka.model_copy(update={"kafka_compression": codec})
        small_platform.producer = create_producer(other, "test")
        image_id = lively_image(small_platform)
    small_platform.settle()
    assert len(stored_codecs(stack, kafka.event_topics)) > 1
    scene = Scene(small_platform, image_id)
    aggregate_scene(scene)
    result = audit(scene.platform, deadline_s=20)
    assert [check for check in result.checks if not check.ok] == []
    assert result.events == 18 * len(CODECS)
    assert {check.name: check.actual for check in result.checks}["uploads"] == len(CODECS)


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(SettingsError, match="KAFKA_COMPRESSION"):
        KafkaSettings.load({"KAFKA_COMPRESSION": "zip"})
