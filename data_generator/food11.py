"""The layout of the Food-11 data set. Standard library only: the data set jobs run in a plain Python image."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SPLITS: Final = ("training", "validation", "evaluation")

CLASSES: Final = (
    "Bread",
    "Dairy product",
    "Dessert",
    "Egg",
    "Fried food",
    "Meat",
    "Noodles/Pasta",
    "Rice",
    "Seafood",
    "Soup",
    "Vegetable/Fruit",
)
"""Names of class 0 to 10 (a test compares them with the platform's categories, which cannot be imported here)."""

_UNSORTED: Final = re.compile(r"(\d{1,2})_.*\.(?:jpe?g|png)", re.IGNORECASE)
_SUFFIXES: Final = {".jpg", ".jpeg", ".png"}


def class_folder(number: int) -> str:
    """Name of the folder of a class, e.g. `class_03`."""
    return f"class_{number:02d}"


def class_of_name(name: str) -> int | None:
    """Class of an unsorted file (`<class>_<anything>.jpg`), or None."""
    match = _UNSORTED.fullmatch(name)
    number = int(match.group(1)) if match else -1
    return number if 0 <= number < len(CLASSES) else None


def unsorted_images(split_folder: Path) -> Iterator[tuple[int, Path]]:
    """Class and path of the unsorted images in a split's folder; nothing when the folder is missing."""
    if split_folder.is_dir():
        for path in split_folder.iterdir():
            number = class_of_name(path.name)
            if number is not None:
                yield number, path


def sorted_images(split_folder: Path) -> Iterator[tuple[int, Path]]:
    """Class and path of the images in the class folders of a split, in no particular order."""
    for number in range(len(CLASSES)):
        folder = split_folder / class_folder(number)
        if folder.is_dir():
            yield from ((number, path) for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def count_images(dataset: Path) -> dict[str, Counter[int]]:
    """Number of images per class of each split, sorted into folders or not."""
    return {
        split: Counter(number for find in (unsorted_images, sorted_images) for number, _path in find(dataset / split))
        for split in SPLITS
    }


def counts_report(counts: dict[str, Counter[int]]) -> list[str]:
    """Table of counts as text: one line per split and class, and the total."""
    lines = []
    for split, numbers in counts.items():
        lines.append(f"{split}: {numbers.total()} images")
        lines += [f"  {class_folder(number)} {name:<16}{numbers[number]:>6}" for number, name in enumerate(CLASSES)]
    lines.append(f"total: {sum(numbers.total() for numbers in counts.values())} images")
    return lines
