"""Which images a model learns from and which it is tried on: the latest fifth, which it could not have seen."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas.util import hash_array  # type: ignore[import-untyped]
from pyiceberg.expressions import BooleanExpression

from gourmetgram.lakehouse.filters import after
from gourmetgram.training.dataset import HOW_TO_FILL, Examples, Flags, TrainingRows, UnusableDataError
from gourmetgram.training_data.inputs import from_us, to_us

HELD_OUT_SHARE: Final = 0.2
MIN_IMAGES: Final = 10
"""With fewer, the held-out fifth is one image."""


class Split(NamedTuple):
    """A moment: images uploaded before it are learned from, the others are held out.

    Attributes:
        held_out_from: upload time of the first held-out image.
        train_images: how many are learned from.
        held_out_images: how many are held out.
    """

    held_out_from: datetime
    train_images: int
    held_out_images: int

    def train(self, examples: Examples) -> Examples:
        """The examples to learn from. An image has one upload time, so it is never on both sides."""
        return examples.where(~self._held_out(examples))

    def held_out(self, examples: Examples) -> Examples:
        """The examples to judge by."""
        return examples.where(self._held_out(examples))

    @property
    def held_out_files(self) -> BooleanExpression:
        """A filter that leaves out files without held-out rows: no anchor is before its image's upload."""
        return after("anchor_time", self.held_out_from - timedelta(microseconds=1))

    def _held_out(self, examples: Examples) -> Flags:
        later: Flags = examples.uploads_us >= to_us(self.held_out_from)
        return later


def split_by_upload(rows: TrainingRows, share: float = HELD_OUT_SHARE) -> Split:
    """Hold out the latest images. Reads the table once; keeps 16 bytes an image.

    Args:
        rows: what there is.
        share: of the images, to hold out; images uploaded in the same microsecond stay together.

    Raises:
        UnusableDataError: there are no usable rows, or too few images for two sides.
    """
    uploads = _upload_times(rows)
    if len(uploads) < MIN_IMAGES:
        raise UnusableDataError(
            f"Snapshot {rows.snapshot_id} has usable rows of {len(uploads)} images; at least {MIN_IMAGES} are needed "
            f"to learn from the earlier and be tried on the latest. {HOW_TO_FILL}"
        )
    cutoff = uploads[-max(round(len(uploads) * share), 1)]
    train = int(np.searchsorted(uploads, cutoff))
    if train == 0:
        raise UnusableDataError(
            f"The {len(uploads)} images of snapshot {rows.snapshot_id} were uploaded at too few different times to "
            f"hold the latest of them out. {HOW_TO_FILL}"
        )
    return Split(from_us(int(cutoff)), train, len(uploads) - train)


def _upload_times(rows: TrainingRows) -> NDArray[np.int64]:
    """The upload time of every image, sorted."""
    keys, uploads = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for examples in rows.examples(with_ids=True):
        if examples.image_ids is None:
            continue
        # 64 bits instead of 36 characters: two of a million images share them with probability 3 in 100 million.
        key, first = np.unique(hash_array(examples.image_ids.to_numpy(zero_copy_only=False)), return_index=True)
        keys.append(key)
        uploads.append(examples.uploads_us[first])
    _, first = np.unique(np.concatenate(keys), return_index=True)
    return np.sort(np.concatenate(uploads)[first])
