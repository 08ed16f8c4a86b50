"""Digests of Kafka's jars: a jar that is missing, added or changed is found before it is used."""

import hashlib
import re
from pathlib import Path

import pytest

from gourmetgram_tools.local import kafka_jars
from gourmetgram_tools.local.errors import StackError


@pytest.fixture(name="jars")
def jars_fixture(tmp_path: Path) -> Path:
    """Two jars, and their digests beside them."""
    lines = []
    for name in ("a.jar", "b.jar"):
        (tmp_path / name).write_text(name)
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n")
    (tmp_path / "digests").write_text("".join(lines))
    return tmp_path


def test_the_jars_of_the_list_are_well(jars: Path) -> None:
    kafka_jars.verify(jars, jars / "digests")


@pytest.mark.parametrize("name", ["a.jar", "c.jar"])
def test_a_changed_or_added_jar_is_named(jars: Path, name: str) -> None:
    (jars / name).write_text("other")
    with pytest.raises(StackError, match=f"differ from digests: {name}"):
        kafka_jars.verify(jars, jars / "digests")


def test_a_missing_jar_is_named(jars: Path) -> None:
    (jars / "b.jar").unlink()
    with pytest.raises(StackError, match=r"b\.jar"):
        kafka_jars.verify(jars, jars / "digests")


def test_the_list_belongs_to_the_version_that_is_fetched() -> None:
    lines = Path(kafka_jars.__file__).with_name("kafka_jars.sha256").read_text().splitlines()
    assert all(re.fullmatch(r"[0-9a-f]{64}  [\w.-]+\.jar", line) for line in lines)
    assert any(line.endswith(f"  kafka_2.13-{kafka_jars.VERSION}.jar") for line in lines)
