"""Steady writes against a running API, and what became of each: for tests that break things meanwhile."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from tests.support.api import picture
from tests.support.waiting import wait_until

_AGAIN: Final = (0, 409, 503)
"""No answer, a request with the same key that has not ended yet, and a store that is away."""

_LONGEST_RETRIES_S: Final = 120.0


class WriteLoad:
    """Views, comments and flags by eligible users, one request at a time per thread, until the block ends.

    A request with a key is sent again until it is answered. One without a key is given up.

    Args:
        api_url: the API. More of them, separated by commas: each attempt goes to one of them.
        threads: number of clients.
        images: number of images.
        keyed: share of the requests that have an idempotency key.
        uploads: share of uploads.

    Attributes:
        answers: how often each HTTP status came; 0 stands for a connection that broke.
        done: requests with a key that were answered with 200, by kind.
        slowest_s: the longest that a request took to be answered.
    """

    def __init__(
        self, api_url: str, *, threads: int = 4, images: int = 10, keyed: float = 0.5, uploads: float = 0.0
    ) -> None:
        self._api_urls = api_url.split(",")
        self._keyed = keyed
        self._uploads = uploads
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: Counter[int] = Counter()
        self.done: Counter[str] = Counter()
        self.slowest_s = 0.0
        with httpx.Client(base_url=self._api_urls[0], timeout=30) as client:
            self._users = [_user(client) for _ in range(10)]
            self._images = [_image(client, random.choice(self._users)) for _ in range(images)]
        self._threads = [threading.Thread(target=self._write, args=(seed,)) for seed in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> int:
        """Requests that were answered with 200 so far."""
        return self.answers[200]

    def _write(self, seed: int) -> None:
        choose = random.Random(seed)
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                kind, path, body = self._request(choose)
                key = {"Idempotency-Key": str(uuid.uuid4())} if choose.random() < self._keyed else {}
                status = self._send(client, choose, path, {**body, "headers": key})
                give_up_at = time.monotonic() + _LONGEST_RETRIES_S
                while key and status in _AGAIN and time.monotonic() < give_up_at:
                    # The API, or a store of it, is being started again.
                    threading.Event().wait(0.05)
                    status = self._send(client, choose, path, {**body, "headers": key})
                with self._lock:
                    self.done[kind] += bool(key) and status == httpx.codes.OK

    def _send(self, client: httpx.Client, choose: random.Random, path: str, request: Mapping[str, Any]) -> int:
        began = time.monotonic()
        try:
            answer = client.post(choose.choice(self._api_urls) + path, **request)
            status = answer.status_code
            self.note(answer)
        except httpx.HTTPError:
            status = 0
            self._stop.wait(0.05)  # the API is being started again
        with self._lock:
            self.answers[status] += 1
            if status:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        return status

    def wait_for_more(self, number: int) -> None:
        """Wait until so many more requests are accepted."""
        goal = self.accepted + number
        wait_until(lambda: self.accepted >= goal, 90.0, f"{number} more accepted requests, {self.answers}")

    def note(self, answer: httpx.Response) -> None:
        """Called with each answer, by the thread that got it; for subclasses."""

    def _request(self, choose: random.Random) -> tuple[str, str, dict[str, Any]]:
        """A request: its kind, path and body."""
        image_id, user_id = choose.choice(self._images), choose.choice(self._users)
        if choose.random() < self._uploads:
            file = {"file": ("photo.jpg", picture(seed=choose.getrandbits(16)))}
            return "upload", "/upload/", {"data": {"user_id": user_id}, "files": file}
        kind = choose.random()
        if kind < 0.8:
            return "view", f"/images/{image_id}/view", {}
        ids = {"image_id": image_id, "user_id": user_id}
        if kind < 0.95:
            return "comment", "/comments/", {"json": {**ids, "content": "Tasty"}}
        return "flag", "/flags/", {"json": {**ids, "reason": "spam"}}


def _user(client: httpx.Client) -> str:
    name = f"load-{random.getrandbits(64):x}"
    return str(client.post("/users/", json={"username": name}).raise_for_status().json()["id"])


def _image(client: httpx.Client, user_id: str) -> str:
    files = {"file": ("photo.jpg", picture(), "image/jpeg")}
    data = {"user_id": user_id, "category": "Bread"}
    return str(client.post("/upload/", data=data, files=files).raise_for_status().json()["id"])
