"""Interface of a source of pictures for uploads."""

import random
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Choice(NamedTuple):
    """Picture to upload.

    Attributes:
        category: name of its class.
        filename: as a browser would send it.
        read: returns the file's bytes; it blocks, so call it in a thread.
    """

    category: str
    filename: str
    read: Callable[[], bytes]


class PictureSource(Protocol):
    """Source of pictures."""

    def choose(self, rng: random.Random) -> Choice:
        """Draw a split, each equally likely, then one of its images."""
