"""Sample set for uploads without the real data set: varied copies of the tracked pictures in `sample/`.

Each picture is a function of its class, split and variant: every process makes the same files.
"""

import io
import random
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageEnhance, ImageOps

from data_generator.extract_data import SAMPLE_FOLDER
from data_generator.food11 import CLASSES, SPLITS
from data_generator.pictures import Choice

VARIANTS: Final = 4
"""Variants per class and split; the last one is a PNG."""

_TRACKED: Final = 2
"""Tracked pictures per class and split."""
_SIZE: Final = (640, 480)
_PNG_SIZE: Final = (320, 240)
_PNG_COLOURS: Final = 64
_QUALITY: Final = 85
_GRAIN: Final = 12
"""Spread of the noise: without it, an enlarged picture has a quarter of a photo's bytes."""


@lru_cache(maxsize=len(CLASSES) * len(SPLITS) * VARIANTS)
def sample_file(class_number: int, split: str, variant: int) -> bytes:
    """Content of one picture file of 10 to 80 KB, made on first use and kept (132 files)."""
    buffer = io.BytesIO()
    name = f"{class_number}_{variant % _TRACKED}.jpg"
    # A text is the same seed in every process; its hash is not.
    rng = random.Random(f"{class_number}/{split}/{variant}")
    if picture_format(variant) == "png":
        picture = vary(SAMPLE_FOLDER / split / name, rng, _PNG_SIZE)
        # Few colours keep the file small.
        picture.quantize(_PNG_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    else:
        vary(SAMPLE_FOLDER / split / name, rng, _SIZE).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def vary(path: Path, rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Crop, mirror, tint and brighten a picture at random and add grain; `size` is in pixels, 4:3."""
    with Image.open(path) as image:
        share = rng.uniform(0.7, 0.95)
        width, height = image.width * share, image.height * share
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        box = (left, top, left + width, top + height)
        picture = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box)
    if rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    tint = Image.new("RGB", size, tuple(rng.randrange(200, 256) for _ in range(3)))
    picture = ImageEnhance.Brightness(ImageChops.multiply(picture, tint)).enhance(rng.uniform(1.0, 1.2))
    return ImageChops.overlay(picture, _grain(rng, size))


def _grain(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Grey noise from the given generator: Pillow's own noise has a seed that differs in each process."""
    half = (size[0] // 2, size[1] // 2)
    noise = Image.frombytes("L", half, rng.randbytes(half[0] * half[1]))
    flat = noise.point(lambda value: 128 + (value - 128) * _GRAIN // 128)
    return flat.resize(size).convert("RGB")


def picture_format(variant: int) -> str:
    """Ending of a file's name: `jpg` or `png`."""
    return "png" if variant == VARIANTS - 1 else "jpg"


class SampleImages:
    """Sample set as a source of pictures for uploads."""

    def choose(self, rng: random.Random) -> Choice:
        """Draw a split, each equally likely, then one of its pictures."""
        split = rng.choice(SPLITS)
        number = rng.randrange(len(CLASSES))
        variant = rng.randrange(VARIANTS)
        return Choice(
            CLASSES[number],
            f"{number}_{variant}.{picture_format(variant)}",
            lambda: sample_file(number, split, variant),
        )
