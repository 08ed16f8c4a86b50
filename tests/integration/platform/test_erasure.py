"""An erasure on all services, while the person and others go on writing."""

import io
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis as redis_library
from PIL import Image
from typer.testing import CliRunner

from gourmetgram_tools.cli.main import app
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.local.stack import Stack
from tests.support.byte_search import everything, places_with
from tests.support.own_stack import own_stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

SERVICES = ("api_v2", "stream_consumer", "risk_scoring_service")


@pytest.fixture(scope="module", name="running")
def running_fixture() -> Iterator[Stack]:
    with own_stack("erasure") as stack:
        stack.up(SERVICES)
        yield stack


class Writer(threading.Thread):
    """Comments of two persons on one image, and views, until it is told to stop.

    Attributes:
        statuses: status codes of the answers to the first person, in order.
        others: those of the other answers.
    """

    def __init__(self, url: str, person: str, other: str, image_id: str, word: str) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=url, timeout=30)
        self._person, self._other, self._image_id, self._word = person, other, image_id, word
        self._stop_asked = threading.Event()
        self.statuses: list[int] = []
        self.others: list[int] = []

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self.statuses.append(self._comment(self._person))
            self.others.append(self._comment(self._other, "nice"))
            self.others.append(self._client.post(f"/images/{self._image_id}/view").status_code)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()
        self._client.close()

    def _comment(self, user_id: str, content: str | None = None) -> int:
        body = {"image_id": self._image_id, "user_id": user_id, "content": content or f"still here {self._word}"}
        return self._client.post("/comments/", json=body).status_code


def test_nothing_of_a_person_who_goes_on_writing_is_left(running: Stack) -> None:
    platform, word = platform_of(running), uuid.uuid4().hex
    with httpx.Client(base_url=platform.api_url, timeout=30) as client:

        def post(path: str, **arguments: Any) -> dict[str, Any]:
            return dict(client.post(path, **arguments).raise_for_status().json())

        def upload(user_id: str, caption: str) -> str:
            picture = io.BytesIO()
            Image.new("RGB", (32, 32)).save(picture, "JPEG")
            form = {"user_id": user_id, "caption": caption, "category": "Soup"}
            return str(post("/upload/", data=form, files={"file": ("x.jpg", picture.getvalue())})["id"])

        person = str(post("/users/", json={"username": f"paula {word}"})["id"])
        other = str(post("/users/", json={"username": "other"})["id"])
        own, foreign = upload(person, f"quince {word}"), upload(other, "soup")
        for _ in range(110):
            post(f"/images/{own}/view")
        for _ in range(2):
            post("/flags/", json={"user_id": other, "image_id": own, "reason": f"because {word}"})
        writer = Writer(platform.api_url, person, other, foreign, word)
        writer.start()
        try:
            done = CliRunner().invoke(app, ["erase", "user", "--stack", running.name, person])
        finally:
            writer.stop()
    assert done.exit_code == 0, done.exception
    # 503: a comment that waited for the row of the person, which was being removed.
    assert {200, 404} <= set(writer.statuses) <= {200, 404, 503}
    assert set(writer.others) == {200}
    with redis_library.Redis(host=platform.redis.redis_host, port=platform.redis.redis_port) as client:
        contents = everything(platform, client, running.folder / "redis")
    assert {name: places_with(name, contents) for name in (person, own, word)} == {person: [], own: [], word: []}
    result = audit(platform)
    assert [difference for check in result.checks for difference in check.differences] == []
