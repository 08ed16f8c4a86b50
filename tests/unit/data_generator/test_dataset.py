"""Pictures from disk: indexed once, splits equally likely, the sample set when there is no data set."""

import logging
import random
from collections import Counter
from pathlib import Path

import pytest

from data_generator.dataset import Food11, open_pictures
from data_generator.food11 import CLASSES, SPLITS
from data_generator.sample_images import SampleImages


def make_dataset(folder: Path, sizes: dict[str, int]) -> Path:
    for split, size in sizes.items():
        for index in range(size):
            place = folder / split / f"class_{index % len(CLASSES):02d}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{index % len(CLASSES)}_{index}.jpg").write_bytes(f"{split} {index}".encode())
    return folder


def test_each_split_is_equally_likely_however_large_it_is(tmp_path: Path) -> None:
    dataset = open_pictures(make_dataset(tmp_path, {"training": 300, "validation": 20, "evaluation": 11}))
    rng = random.Random(1)
    splits = Counter(dataset.choose(rng).read().split()[0].decode() for _ in range(3000))
    assert set(splits) == set(SPLITS)
    assert all(abs(count - 1000) < 120 for count in splits.values())


def test_the_category_is_the_name_of_the_class(tmp_path: Path) -> None:
    dataset = open_pictures(make_dataset(tmp_path, dict.fromkeys(SPLITS, 22)))
    rng = random.Random(1)
    for _ in range(200):
        choice = dataset.choose(rng)
        assert choice.category == CLASSES[int(choice.filename.partition("_")[0])]


def test_the_index_is_built_once(tmp_path: Path) -> None:
    dataset = open_pictures(make_dataset(tmp_path, {"training": 11}))
    assert isinstance(dataset, Food11)
    (tmp_path / "training" / "class_00" / "0_999.jpg").write_bytes(b"later")
    rng = random.Random(1)
    assert len(dataset) == 11
    assert "0_999.jpg" not in {dataset.choose(rng).filename for _ in range(300)}


@pytest.mark.parametrize("folder", ["missing", "empty", "unsorted"])
def test_without_the_layout_the_sample_set_is_used_and_said_so(
    tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / folder
    if folder != "missing":
        (path / "training").mkdir(parents=True)
    if folder == "unsorted":
        (path / "training" / "3_1.jpg").write_bytes(b"not in a class folder")
    with caplog.at_level(logging.INFO):
        assert isinstance(open_pictures(path), SampleImages)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "sample images" in line
