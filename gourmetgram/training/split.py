"""Split of the images by time: a model learns from the earlier ones, and is tested on the latest, unseen ones."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from pyiceberg.expressions import BooleanExpression

from gourmetgram.lakehouse.filters import after
from gourmetgram.moments import from_us, to_us
from gourmetgram.training.dataset import Examples
from gourmetgram.training.horizon import Flags, Integers

HELD_OUT_SHARES: Final = (0.2, 0.3, 0.4, 0.5)
"""Shares of the images to hold out. The first is the rule; the others are for young data, whose latest fifth often has
no flagged image yet."""
MIN_IMAGES: Final = 10
"""With fewer, the held-out fifth is one image."""


class Split(NamedTuple):
    """Time of the split: images uploaded before it are for training, the others are held out.

    Attributes:
        held_out_from: upload time of the first held-out image.
        train_images: number of images for training.
        held_out_images: number of held-out images.
    """

    held_out_from: datetime
    train_images: int
    held_out_images: int

    def train(self, examples: Examples) -> Examples:
        """Select the training examples. An image has one upload time, so it is never on both sides."""
        return examples.where(~self.is_held_out(examples.uploads_us))

    def held_out(self, examples: Examples) -> Examples:
        """Select the held-out examples."""
        return examples.where(self.is_held_out(examples.uploads_us))

    @property
    def held_out_files(self) -> BooleanExpression:
        """Filter that leaves out files without held-out rows: no anchor is before its image's upload."""
        return after("anchor_time", self.held_out_from - timedelta(microseconds=1))

    def is_held_out(self, uploads_us: Integers) -> Flags:
        """Mask of the held-out images, by upload time in microseconds since the epoch."""
        later: Flags = uploads_us >= to_us(self.held_out_from)
        return later


def split_uploads(uploads_us: Integers, share: float = HELD_OUT_SHARES[0]) -> Split | None:
    """Hold out the latest images.

    Args:
        uploads_us: the upload time of every image, sorted, microseconds since the epoch.
        share: share of the images to hold out; images uploaded in the same microsecond stay together.

    Returns:
        The split; None when there are fewer than `MIN_IMAGES`, or too few different times for two sides.
    """
    if len(uploads_us) < MIN_IMAGES:
        return None
    cutoff = uploads_us[-max(round(len(uploads_us) * share), 1)]
    train = int(np.searchsorted(uploads_us, cutoff))
    return Split(from_us(int(cutoff)), train, len(uploads_us) - train) if train else None
