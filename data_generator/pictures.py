"""What a source of pictures for uploads is."""

import random
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Choice(NamedTuple):
    """A picture to upload.

    Attributes:
        category: name of its class.
        filename: as a browser would send it.
        read: gets the file's bytes; blocks, so call it in a thread.
    """

    category: str
    filename: str
    read: Callable[[], bytes]


class PictureSource(Protocol):
    """Where pictures come from."""

    def choose(self, rng: random.Random) -> Choice:
        """Pick one at random: a split, each equally likely, then one of its images."""
