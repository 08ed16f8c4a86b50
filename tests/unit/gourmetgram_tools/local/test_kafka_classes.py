"""The image of Kafka's classes: one for each java, and not needed for a start."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from gourmetgram_tools.local import kafka_classes, kafka_jars, toolchain
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.kafka import Kafka
from gourmetgram_tools.local.layout import Layout


def _silent(_text: str) -> None:
    pass


@pytest.fixture(name="useless")
def useless_fixture() -> Path:
    """A program that does nothing and says that it failed."""
    found = shutil.which("false")
    assert found
    return Path(found)


def test_a_java_that_was_upgraded_in_place_gets_another_image(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.touch()
    before = kafka_classes.image_file(tmp_path, java)
    assert kafka_classes.image_file(tmp_path, java) == before
    os.utime(java, (1, 1))
    assert kafka_classes.image_file(tmp_path, java) != before


def test_a_broker_that_ends_at_once_is_not_waited_for(tmp_path: Path, useless: Path) -> None:
    with pytest.raises(StackError, match="The broker did not start"):
        kafka_classes.note_loaded(tmp_path / "classes", [str(useless)], lambda: False)


def test_a_failed_dump_leaves_no_image(tmp_path: Path, useless: Path) -> None:
    image = tmp_path / "image.jsa"
    with pytest.raises(StackError, match="cannot write an image"):
        kafka_classes.write_image(image, tmp_path / "classes", [str(useless)])
    assert not image.exists()


def test_without_an_image_there_is_one_warning_and_a_start(
    tmp_path: Path, useless: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kafka_jars.folder(tmp_path).mkdir()
    monkeypatch.setattr(toolchain, "find_java", lambda: useless)
    broker = Kafka(Layout("mine", tmp_path), 1, 2, tmp_path)
    with caplog.at_level(logging.WARNING):
        broker.obtain(_silent)
        broker.obtain(_silent)
    assert caplog.text.count("without an image of its classes") == 1
    command = broker.program().command
    assert str(useless) in command
    assert not [option for option in command if "SharedArchiveFile" in option]
