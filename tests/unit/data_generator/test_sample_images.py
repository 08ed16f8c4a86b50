"""Bundled sample set: complete, small, made of valid pictures, and varied for uploads."""

import io
import itertools
import random
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from data_generator.dataset import open_pictures
from data_generator.extract_data import SAMPLE_FOLDER
from data_generator.food11 import CLASSES, SPLITS, count_images
from data_generator.pictures import Choice
from data_generator.sample_images import VARIANTS, SampleImages, sample_file
from gourmetgram.features.definition import CATEGORIES

TRACKED_BYTES_LIMIT = 500_000
UPLOAD_BYTES_LIMIT = 200_000


def decoded(content: bytes) -> Image.Image:
    """Decode a picture to its last pixel."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def tracked_files() -> dict[str, bytes]:
    return {str(path.relative_to(SAMPLE_FOLDER)): path.read_bytes() for path in SAMPLE_FOLDER.rglob("*.*")}


def test_class_names_are_the_platforms_categories() -> None:
    assert CLASSES == CATEGORIES


def test_every_class_is_in_every_split() -> None:
    counts = count_images(SAMPLE_FOLDER)
    assert set(counts) == set(SPLITS)
    for numbers in counts.values():
        assert all(numbers[number] >= 1 for number in range(len(CLASSES)))


def test_every_tracked_picture_is_a_valid_jpeg_and_different_from_the_others() -> None:
    files = tracked_files()
    for content in files.values():
        image = decoded(content)
        assert (image.format, image.mode) == ("JPEG", "RGB")
    assert len(set(files.values())) == len(files)


def test_the_tracked_set_is_small() -> None:
    assert sum(map(len, tracked_files().values())) < TRACKED_BYTES_LIMIT


def test_variants_of_one_picture_differ_and_each_is_the_same_every_time() -> None:
    contents = {sample_file(3, split, variant) for split in SPLITS for variant in range(VARIANTS)}
    assert len(contents) == len(SPLITS) * VARIANTS
    first = sample_file(3, "training", 0)
    sample_file.cache_clear()
    assert sample_file(3, "training", 0) == first


def test_uploads_have_the_size_in_pixels_of_their_format() -> None:
    sizes = [decoded(sample_file(10, "validation", variant)).size for variant in range(VARIANTS)]
    assert sizes == [(640, 480), (640, 480), (640, 480), (320, 240)]


def test_uploads_from_the_sample_set_have_the_format_that_their_name_says() -> None:
    formats = set()
    for variant in (0, VARIANTS - 1):
        content = sample_file(9, "evaluation", variant)
        formats.add(decoded(content).format)
        assert len(content) < UPLOAD_BYTES_LIMIT
    assert formats == {"JPEG", "PNG"}


def test_every_class_is_chosen_and_named_like_its_category() -> None:
    rng, source = random.Random(1), SampleImages()
    choices = [source.choose(rng) for _ in range(2000)]
    assert {choice.category for choice in choices} == set(CLASSES)
    assert all(named_by_class(choice) for choice in choices)
    endings = {choice.filename.rpartition(".")[2] for choice in choices}
    assert endings == {"jpg", "png"}


def named_by_class(choice: Choice) -> bool:
    number = int(choice.filename.partition("_")[0])
    return CLASSES[number] == choice.category


def test_pictures_have_the_size_of_a_photo() -> None:
    for number, variant in itertools.product(range(len(CLASSES)), (0, VARIANTS - 1)):
        assert 10_000 <= len(sample_file(number, "training", variant)) <= 80_000


def test_categories_look_different() -> None:
    pictures = [
        decoded((SAMPLE_FOLDER / "training" / f"{number}_0.jpg").read_bytes()) for number in range(len(CLASSES))
    ]
    for first, second in itertools.combinations(pictures, 2):
        # The middle of the picture, without the table around it: 255 is black against white.
        middles = (first.crop((48, 36, 144, 108)), second.crop((48, 36, 144, 108)))
        assert sum(ImageStat.Stat(ImageChops.difference(*middles)).mean) / 3 > 12


def test_without_a_data_set_the_sample_set_is_used(tmp_path: Path) -> None:
    assert isinstance(open_pictures(tmp_path / "Food-11"), SampleImages)
