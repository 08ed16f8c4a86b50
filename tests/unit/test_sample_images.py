"""The drawn sample set: complete, valid, different by category, and always the same."""

import hashlib
import io
import itertools
import random
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from data_generator.extract_data import SAMPLE_FOLDER
from data_generator.food11 import CLASSES, SPLITS, class_of_name
from data_generator.sample_images import SampleImages, draw, main, sample_file
from gourmetgram.features.definition import CATEGORIES

MAX_TRACKED_BYTES = 300_000


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean distance of the pixels' channels, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean) / 3


def test_classes_are_the_platforms_categories() -> None:
    assert CLASSES == CATEGORIES


@pytest.mark.parametrize("variant", [0, 3], ids=["jpeg", "png"])
@pytest.mark.parametrize("class_number", range(len(CLASSES)), ids=CLASSES)
def test_pictures_are_valid_and_of_the_size_of_a_photo(class_number: int, variant: int) -> None:
    content = sample_file(class_number, "training", variant)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.format == ("PNG" if variant == 3 else "JPEG")
        assert image.size >= (320, 240)
    assert 10_000 <= len(content) <= 80_000


def test_the_same_name_gives_the_same_picture_and_another_name_another() -> None:
    first, again, other = (draw(9, name, (160, 120)) for name in ("training/0", "training/0", "training/1"))
    assert first.tobytes() == again.tobytes()
    assert difference(first, other) > 3


def test_categories_differ_in_what_is_on_the_table() -> None:
    pictures = [draw(number, "same table", (160, 120)) for number in range(len(CLASSES))]
    for first, second in itertools.combinations(pictures, 2):
        # The middle, without the table around it.
        assert difference(first.crop((40, 30, 120, 90)), second.crop((40, 30, 120, 90))) > 12


def test_every_picture_of_the_tracked_set_can_be_drawn_again(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jpg"))
    assert names == sorted(path.relative_to(SAMPLE_FOLDER) for path in SAMPLE_FOLDER.rglob("*.*"))
    for name in names:
        with Image.open(tmp_path / name) as drawn, Image.open(SAMPLE_FOLDER / name) as tracked:
            # Not byte by byte: another version of the JPEG library may round differently.
            assert difference(drawn, tracked) < 3, name


def test_the_tracked_set_has_every_class_in_every_split_and_stays_small() -> None:
    for split in SPLITS:
        classes = [class_of_name(path.name) for path in (SAMPLE_FOLDER / split).iterdir()]
        assert sorted(set(classes)) == list(range(len(CLASSES)))
    files = list(SAMPLE_FOLDER.rglob("*.jpg"))
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert len(digests) == len(files)
    assert sum(path.stat().st_size for path in files) <= MAX_TRACKED_BYTES


def test_the_sample_set_is_a_source_of_pictures_of_all_categories() -> None:
    rng = random.Random(1)
    choices = [SampleImages().choose(rng) for _ in range(300)]
    assert {choice.category for choice in choices} == set(CLASSES)
    assert {choice.filename.rpartition(".")[2] for choice in choices} == {"jpg", "png"}
    with Image.open(io.BytesIO(choices[0].read())) as image:
        image.verify()
