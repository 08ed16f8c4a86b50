"""Clients of the API: all kinds of writes, some of them wrong, one request at a time per thread."""

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from tests.chaos.nemesis.history import History, Kind, Operation, Outcome, outcome_of
from tests.support.api import NOBODY, picture
from tests.support.waiting import wait_until

_TIMEOUT_S: Final = 30.0
_RENEWAL_DEADLINE_S: Final = 120.0
_PAUSE_AFTER_FAILURE_S: Final = 0.05
_KINDS: Final = {Kind.VIEW: 70, Kind.COMMENT: 13, Kind.FLAG: 10, Kind.UPLOAD: 5, Kind.USER: 2}
_WRONG_SHARE: Final = 0.02
_NEWEST: Final = 30
"""Images and users that are written to: the newest ones, so that one image can go viral."""


class Clients:
    """Users of the platform, who write while `running`, and whose history holds the end of each request.

    Args:
        api_url: address of the API.
        history: receives the operations.
        seed: makes the choices of each client; the order over all clients depends on their race.
        threads: number of clients.
    """

    def __init__(self, api_url: str, history: History, seed: int, threads: int = 4) -> None:
        self._api_url = api_url
        self._history = history
        self._choices = [random.Random(seed + number) for number in range(threads)]
        self._stop = threading.Event()
        self._users: list[str] = []
        self._images: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write until the block ends, and until each request has ended."""
        self._stop.clear()
        self._prepare()
        threads = [threading.Thread(target=self._write, args=(choose,)) for choose in self._choices]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def renew(self) -> None:
        """Write to a new user and a new image from now on."""
        users: list[str] = []
        images: list[str] = []
        with httpx.Client(base_url=self._api_url, timeout=_TIMEOUT_S) as client:
            wait_until(lambda: users or self._user(client, users), _RENEWAL_DEADLINE_S, "a new user")
            wait_until(lambda: images or self._upload(client, users[0], images), _RENEWAL_DEADLINE_S, "a new image")
        self._users, self._images = users, images

    def _prepare(self) -> None:
        """Make the first user and image, which every other write needs."""
        if not self._images:
            self.renew()

    def _write(self, choose: random.Random) -> None:
        with httpx.Client(base_url=self._api_url, timeout=_TIMEOUT_S) as client:
            while not self._stop.is_set():
                if self._one(client, choose) is not Outcome.ACKNOWLEDGED:
                    self._stop.wait(_PAUSE_AFTER_FAILURE_S)

    def _one(self, client: httpx.Client, choose: random.Random) -> Outcome:
        (kind,) = choose.choices(list(_KINDS), list(_KINDS.values()))
        if kind is Kind.USER:
            return self._user(client, self._users)
        if kind is Kind.UPLOAD:
            return self._upload(client, choose.choice(self._users[-_NEWEST:]), self._images)
        image_id = NOBODY if choose.random() < _WRONG_SHARE else choose.choice(self._images[-_NEWEST:])
        if kind is Kind.VIEW:
            return self._send(client, kind, image_id, f"/images/{image_id}/view")
        key = uuid.uuid4().hex
        body = {"image_id": image_id, "user_id": choose.choice(self._users[-_NEWEST:])}
        if kind is Kind.COMMENT:
            return self._send(client, kind, key, "/comments/", json={**body, "content": key})
        return self._send(client, kind, key, "/flags/", json={**body, "reason": key})

    def _user(self, client: httpx.Client, known: list[str]) -> Outcome:
        key = uuid.uuid4().hex
        return self._send(client, Kind.USER, key, "/users/", json={"username": key}, known=known)

    def _upload(self, client: httpx.Client, user_id: str, known: list[str]) -> Outcome:
        key = uuid.uuid4().hex
        form = {"user_id": user_id, "category": "Bread", "caption": key}
        files = {"file": ("photo.jpg", picture(), "image/jpeg")}
        return self._send(client, Kind.UPLOAD, key, "/upload/", data=form, files=files, known=known)

    def _send(
        self,
        client: httpx.Client,
        kind: Kind,
        key: str,
        path: str,
        *,
        known: list[str] | None = None,
        json: object = None,
        data: dict[str, str] | None = None,
        files: dict[str, tuple[str, bytes, str]] | None = None,
    ) -> Outcome:
        result: httpx.Response | httpx.HTTPError
        try:
            result = client.post(path, json=json, data=data, files=files)
        except httpx.HTTPError as error:
            result = error
        outcome = outcome_of(result)
        row_id = ""
        if isinstance(result, httpx.Response):
            detail = f"{result.status_code} {result.text[:200]}"
            if outcome is Outcome.ACKNOWLEDGED and kind is not Kind.VIEW:
                row_id = str(result.json()["id"])
        else:
            detail = repr(result)
        if known is not None and row_id:
            known.append(row_id)
        self._history.add(Operation(kind, key, outcome, detail, row_id))
        return outcome
