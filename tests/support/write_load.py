"""Steady writes against a running API, and what became of each: for tests that break things meanwhile."""

import random
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

import httpx

from tests.support.api import picture


class WriteLoad:
    """Views, comments and flags by eligible users, one request at a time per thread, until the block ends.

    Attributes:
        answers: how often each HTTP status came; 0 stands for a connection that broke.
        slowest_s: the longest that a request took to be answered.
    """

    def __init__(self, api_url: str, *, threads: int = 4, images: int = 10) -> None:
        self._api_url = api_url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: Counter[int] = Counter()
        self.slowest_s = 0.0
        with httpx.Client(base_url=api_url, timeout=30) as client:
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
        with httpx.Client(base_url=self._api_url, timeout=30) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    status = self._one(client, choose).status_code
                except httpx.HTTPError:
                    status = 0
                    self._stop.wait(0.05)  # the API is being started again
                with self._lock:
                    self.answers[status] += 1
                    if status:
                        self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _one(self, client: httpx.Client, choose: random.Random) -> httpx.Response:
        image_id, user_id = choose.choice(self._images), choose.choice(self._users)
        kind = choose.random()
        if kind < 0.8:
            return client.post(f"/images/{image_id}/view")
        if kind < 0.95:
            return client.post("/comments/", json={"image_id": image_id, "user_id": user_id, "content": "Tasty"})
        return client.post("/flags/", json={"image_id": image_id, "user_id": user_id, "reason": "spam"})


def _user(client: httpx.Client) -> str:
    name = f"load-{random.getrandbits(64):x}"
    return str(client.post("/users/", json={"username": name}).raise_for_status().json()["id"])


def _image(client: httpx.Client, user_id: str) -> str:
    files = {"file": ("photo.jpg", picture(), "image/jpeg")}
    data = {"user_id": user_id, "category": "Bread"}
    return str(client.post("/upload/", data=data, files=files).raise_for_status().json()["id"])
