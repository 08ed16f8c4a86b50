"""The stack that benchmarks run on: its own, with the no-op route switched on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from random import Random

import httpx
from PIL import Image

from gourmetgram_tools.local.stack import Stack

UPLOAD_BYTES = 60_000
"""Size of the uploaded picture, about that of a photo of the data set."""


@dataclass(frozen=True)
class Cast:
    """Who and what takes part: ids made through the API."""

    user_ids: list[str]
    image_ids: list[str]


@contextmanager
def bench_stack(services: Sequence[str]) -> Iterator[Stack]:
    """A fresh stack `bench` with the named services; stopped and wiped afterwards."""
    stack = Stack("bench")
    stack.down(wipe=True)
    stack.folder.mkdir(parents=True, exist_ok=True)
    (stack.folder / "overrides.env").write_text("ENABLE_BENCH_ROUTE=true\nLOG_LEVEL=WARNING\n")
    stack.up(services=list(services))
    try:
        yield stack
    finally:
        stack.down(wipe=True)


def picture(size: int = UPLOAD_BYTES, seed: int = 0) -> bytes:
    """A valid JPEG of about `size` bytes (within a few per cent): noise, which does not compress further."""
    side = int((size / 0.49) ** 0.5)  # bytes per pixel of noise at this quality
    pixels = Random(seed).randbytes(side * side)
    buffer = BytesIO()
    Image.frombytes("L", (side, side), pixels).convert("RGB").save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def create_cast(api_url: str, users: int, images: int) -> Cast:
    """Users and images, as a client would create them."""
    with httpx.Client(base_url=api_url, timeout=30) as client:
        user_ids = [
            client.post("/users/", json={"username": f"bench-{number}"}).raise_for_status().json()["id"]
            for number in range(users)
        ]
        small = picture(2_000)
        image_ids = [
            client.post(
                "/upload/",
                data={"user_id": user_ids[number % users], "category": "Bread"},
                files={"file": ("photo.jpg", small, "image/jpeg")},
            )
            .raise_for_status()
            .json()["id"]
            for number in range(images)
        ]
    return Cast(user_ids, image_ids)
