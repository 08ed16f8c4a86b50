"""The bundled sample set: pictures drawn by our own code, used when the real data set is not there.

The same seed gives the same picture. `python -m data_generator.sample_images --out FOLDER` writes a set in the layout
of the unsorted data set; the small one in `data_generator/sample/` was made with the defaults.
"""

import argparse
import io
import logging
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image

from data_generator.drawing.canvas import Canvas
from data_generator.drawing.dishes import DISHES
from data_generator.food11 import CLASSES, SPLITS
from data_generator.pictures import Choice
from gourmetgram.observability import configure_logging

SEED: Final = 11
VARIANTS: Final = 4
"""Pictures per class and split that the generator draws for itself; the last one is a PNG."""

_SIZE: Final = (640, 480)
_PNG_SIZE: Final = (320, 240)
_PNG_COLOURS: Final = 64
_QUALITY: Final = 85

# What is tracked in the repository has to stay small.
_TRACKED_VARIANTS: Final = 2
_TRACKED_SIZE: Final = (192, 144)
_TRACKED_QUALITY: Final = 66

log = logging.getLogger(__name__)


def draw(class_number: int, name: str, size: tuple[int, int] = _SIZE) -> Image.Image:
    """Draw one dish.

    Args:
        class_number: 0 to 10, see `data_generator.food11.CLASSES`.
        name: seed; another name gives another picture of the same kind.
        size: width and height in pixels, in the proportion 4:3.
    """
    # Texts seed the generator the same way in every process, unlike their hashes.
    canvas = Canvas(size, random.Random(f"{SEED}/{class_number}/{name}"))
    canvas.table()
    DISHES[class_number](canvas)
    return canvas.finished()


def jpeg(image: Image.Image, quality: int = _QUALITY) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file with few colours, which keeps it small."""
    buffer = io.BytesIO()
    image.quantize(_PNG_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@lru_cache(maxsize=len(CLASSES) * len(SPLITS) * VARIANTS)
def sample_file(class_number: int, split: str, variant: int) -> bytes:
    """One picture of the set as a file, drawn on first use and kept (10 to 80 KB each, 132 of them)."""
    name = f"{split}/{variant}"
    if picture_format(variant) == "png":
        return png(draw(class_number, name, _PNG_SIZE))
    return jpeg(draw(class_number, name))


def picture_format(variant: int) -> str:
    """Ending of a file's name: `jpg` or `png`."""
    return "png" if variant == VARIANTS - 1 else "jpg"


class SampleImages:
    """The set as a source of pictures for uploads."""

    def choose(self, rng: random.Random) -> Choice:
        """A split, each equally likely, then one of its pictures."""
        split = rng.choice(SPLITS)
        number = rng.randrange(len(CLASSES))
        variant = rng.randrange(VARIANTS)
        return Choice(
            CLASSES[number],
            f"{number}_{variant}.{picture_format(variant)}",
            lambda: sample_file(number, split, variant),
        )


def write_set(
    folder: Path,
    variants: int = _TRACKED_VARIANTS,
    size: tuple[int, int] = _TRACKED_SIZE,
    quality: int = _TRACKED_QUALITY,
) -> int:
    """Write JPEG files `<split>/<class>_<variant>.jpg`.

    Returns:
        the number of files.
    """
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(len(CLASSES)):
            for variant in range(variants):
                path = folder / split / f"{number}_{variant}.jpg"
                path.write_bytes(jpeg(draw(number, f"{split}/{variant}", size), quality))
    return len(SPLITS) * len(CLASSES) * variants


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m data_generator.sample_images`."""
    parser = argparse.ArgumentParser(description="Draw the sample set.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--per-class", type=int, default=_TRACKED_VARIANTS, help="pictures per class and split")
    parser.add_argument("--width", type=int, default=_TRACKED_SIZE[0], help="pixels; the height is 3/4 of it")
    parser.add_argument("--quality", type=int, default=_TRACKED_QUALITY, help="of the JPEG files, 1 to 95")
    options = parser.parse_args(arguments)
    configure_logging("INFO")
    written = write_set(options.out, options.per_class, (options.width, options.width * 3 // 4), options.quality)
    log.info("Wrote %d pictures to %s", written, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
