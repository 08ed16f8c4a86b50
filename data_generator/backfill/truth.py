"""The ground truth: hidden properties of each image. They stand in a file, never in a row of the platform."""

import csv
from pathlib import Path
from typing import Final

from data_generator.backfill.history import BackfillHistory
from gourmetgram.errors import PermanentError

COLUMNS: Final = ("image_id", "harmful", "harm_probability", "severity", "popularity", "viral", "views")


def write_truth(history: BackfillHistory, path: Path) -> None:
    """Write one line per image, in the order of uploads; the file is complete or not there.

    Raises:
        PermanentError: the file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(_lines(history))
        unfinished.replace(path)
    except OSError as error:
        raise PermanentError(
            f"The ground truth cannot be written to {path} ({error.strerror}): set GENERATOR_BACKFILL_TRUTH_PATH."
        ) from error


def _lines(history: BackfillHistory) -> list[tuple[object, ...]]:
    return [
        (
            image.id,
            int(image.traits.harmful),
            round(image.traits.harm_probability, 6),
            round(image.traits.severity, 6),
            round(image.traits.popularity, 6),
            int(image.traits.viral),
            history.views(number),
        )
        for number, image in enumerate(history.images)
    ]
