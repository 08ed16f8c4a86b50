"""Pictures for uploads: Food-11 on disk, or the bundled sample set where Food-11 is missing."""

import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_generator.food11 import CLASSES, SPLITS, sorted_images
from data_generator.pictures import Choice, PictureSource
from data_generator.sample_images import SampleImages

log = logging.getLogger(__name__)


class Food11:
    """Food-11 on disk as a source of pictures.

    Args:
        images: class and path of every image, by split; read once by `index`.
    """

    def __init__(self, images: Mapping[str, Sequence[tuple[int, Path]]]) -> None:
        self._images = images
        self._splits = sorted(images)

    def __len__(self) -> int:
        return sum(len(images) for images in self._images.values())

    @classmethod
    def index(cls, folder: Path) -> "Food11 | None":
        """Open a data set and list its images; None for a folder without the data set's layout."""
        found = {split: sorted(sorted_images(folder / split)) for split in SPLITS}
        images = {split: paths for split, paths in found.items() if paths}
        return cls(images) if images else None

    def choose(self, rng: random.Random) -> Choice:
        """Draw a split, each equally likely, then one of its images."""
        number, path = rng.choice(self._images[rng.choice(self._splits)])
        return Choice(CLASSES[number], path.name, path.read_bytes)


def open_pictures(folder: Path) -> PictureSource:
    """Open the data set or, when it is missing, the sample set; a log line names the choice."""
    dataset = Food11.index(folder)
    if dataset is not None:
        log.info("Uploading images of the data set in %s (%d images)", folder, len(dataset))
        return dataset
    log.info("No data set in %s: uploading the bundled sample images, each varied", folder)
    return SampleImages()
