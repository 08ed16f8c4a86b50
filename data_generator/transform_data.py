"""Sort the images of Food-11 into one folder per class: `python -m data_generator.transform_data`.

Standard library only, like `extract_data`. Moves `<split>/<class>_<n>.jpg` to `<split>/class_<class>/` within one file
system. Sorted images stay, so the job may be interrupted and run again.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data_generator.food11 import CLASSES, SPLITS, class_folder, count_images, counts_report, unsorted_images

_DEFAULT_DATASET: Final = Path("/data/Food-11")

log = logging.getLogger("transform-data")


def sort_images(dataset: Path) -> int:
    """Move every unsorted image into its class folder.

    Returns:
        the number of images moved.
    """
    moved = 0
    for split in SPLITS:
        for number in range(len(CLASSES)):
            (dataset / split / class_folder(number)).mkdir(parents=True, exist_ok=True)
        # As a list, because the folder must not change while it is read.
        for number, path in list(unsorted_images(dataset / split)):
            path.rename(dataset / split / class_folder(number) / path.name)
            moved += 1
    return moved


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Sort the images of Food-11 into one folder per class.")
    parser.add_argument("--dataset", type=Path, default=_DEFAULT_DATASET, help="folder with the three splits")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if not options.dataset.is_dir():
        log.error("There is no data set in %s: run extract_data first", options.dataset)
        return 1
    try:
        moved = sort_images(options.dataset)
    except OSError as error:
        log.error("The images could not be sorted: %s", error)
        return 1
    log.info("Sorted %d images of %s into class folders", moved, options.dataset)
    counts = count_images(options.dataset)
    for line in counts_report(counts):
        log.info(line)
    empty = [
        f"{split}/{class_folder(number)}"
        for split in SPLITS
        for number in range(len(CLASSES))
        if not counts[split][number]
    ]
    if empty:
        log.error("The data set has no images in %s", ", ".join(empty))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
