"""Python in the lab's text works as it is printed, except for the addresses of the servers."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest

from chameleon.build import SOURCES
from tests.support.api import Api

pytestmark = pytest.mark.servers


def snippet(source: str, first_line: str, replaced: Mapping[str, str]) -> str:
    """Block of Python that begins with a line, with other addresses.

    Args:
        source: file of the text.
        first_line: beginning of the block.
        replaced: addresses of the text, which the block must contain, and those to use.
    """
    text = (SOURCES / source).read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    block = next(block for block in blocks if block.startswith(first_line))
    for old, new in replaced.items():
        assert old in block, f"{source} has no {old}"
        block = block.replace(old, new)
    return block


async def run(code: str) -> dict[str, Any]:
    """Run a block beside the API, which needs this event loop; returns its variables."""
    variables: dict[str, Any] = {}
    await asyncio.to_thread(exec, code, variables)  # the lab's own text
    return variables


async def test_a_program_comments_with_requests(api_v2: Api) -> None:
    image_id = await api_v2.image()
    address = str(api_v2.http.base_url).rstrip("/")
    code = snippet("3_endpoints.md", "import requests", {"http://localhost:8000": address})
    for _ in range(2):
        seen = await run(code)
        assert seen["answer"].status_code == 200
    comments = (await api_v2.http.get(f"/images/{image_id}/comments")).json()
    assert len(comments) == 2
    assert {comment["user_id"] for comment in comments} == {seen["user"]["id"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # kafka-python reads its own files the old way
async def test_kafka_python_reads_the_views(
    api_v2: Api, kafka_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = await api_v2.image()
    assert (await api_v2.view(image_id)).status_code == 200
    replaced = {
        "gourmetgram.views": kafka_environment["KAFKA_TOPIC_VIEWS"],
        "localhost:19092": kafka_environment["KAFKA_BOOTSTRAP_SERVERS"],
        "consumer_timeout_ms=3000": "consumer_timeout_ms=10000",  # the relay needs a moment
    }
    await run(snippet("4_realtime.md", "from kafka import", replaced))
    assert image_id in capsys.readouterr().out


async def test_pandas_reads_the_decisions(database_url: str) -> None:
    address = "postgresql+psycopg2://" + database_url.split("://", 1)[1]
    written = "postgresql+psycopg2://user:gourmetgram_postgres@postgres:5432/gourmetgram"
    seen = await run(snippet("6_training.md", "import pandas", {written: address}))
    assert list(seen["frame"].columns) == ["inference_mode", "moderation_probability"]
