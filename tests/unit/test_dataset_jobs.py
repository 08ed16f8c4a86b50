"""Fetching and sorting the data set: against a real HTTP server, in a Python without any package."""

import http.server
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_generator import extract_data, transform_data
from data_generator.extract_data import Job, run
from data_generator.food11 import CLASSES, SPLITS, count_images
from gourmetgram.settings import PROJECT_ROOT

IMAGES = len(SPLITS) * len(CLASSES) * 2


def archive(prefix: str = "", leave_out: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for split in SPLITS:
            for number in range(len(CLASSES)):
                for index in range(2):
                    name = f"{prefix}{split}/{number}_{index}.jpg"
                    if name != leave_out:
                        file.writestr(name, f"{split} {number} {index} ".encode() * 500)
        file.writestr("__MACOSX/training/._0_0.jpg", b"shadow")
        file.writestr("readme.txt", b"not an image")
    return buffer.getvalue()


class Box:
    """A server of one archive that may break off."""

    def __init__(self) -> None:
        self.content = archive()
        self.status = 200
        self.break_off_times = 0
        self.requests = 0
        box = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                box.requests += 1
                self.send_response(box.status)
                self.send_header("Content-Length", str(len(box.content)))
                self.end_headers()
                broken = box.requests <= box.break_off_times
                self.wfile.write(box.content[: len(box.content) // 2] if broken else box.content)

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/food.zip"


@pytest.fixture
def box() -> Iterator[Box]:
    box = Box()
    thread = threading.Thread(target=box.server.serve_forever)
    thread.start()
    yield box
    box.server.shutdown()
    box.server.server_close()
    thread.join()


@pytest.fixture
def job(box: Box, tmp_path: Path) -> Job:
    return Job(target=tmp_path / "data", url=box.url, expected_images=IMAGES, timeout_s=5)


def total(dataset: Path) -> int:
    return sum(numbers.total() for numbers in count_images(dataset).values())


def is_sample(job: Job) -> bool:
    return (job.dataset / extract_data.SAMPLE_MARKER).exists()


def assert_nothing_half_done(job: Job) -> None:
    assert [path.name for path in job.target.iterdir()] == ["Food-11"]


@pytest.mark.parametrize("prefix", ["", "Food-11/", "some/folder/"])
def test_the_archive_is_downloaded_checked_and_unpacked(job: Job, box: Box, prefix: str) -> None:
    box.content = archive(prefix)
    run(job)
    assert total(job.dataset) == IMAGES
    assert not is_sample(job)
    assert (job.dataset / "validation" / "7_1.jpg").read_bytes().startswith(b"validation 7 1 ")
    assert_nothing_half_done(job)


def test_a_second_run_downloads_nothing_and_changes_nothing(job: Job, box: Box) -> None:
    run(job)
    transform_data.sort_images(job.dataset)
    before = sorted((path, path.stat().st_mtime_ns) for path in job.dataset.rglob("*"))
    run(job)
    assert box.requests == 1
    assert sorted((path, path.stat().st_mtime_ns) for path in job.dataset.rglob("*")) == before


def test_a_download_that_breaks_off_is_tried_again(job: Job, box: Box) -> None:
    box.break_off_times = 2
    run(job)
    assert box.requests == 3
    assert total(job.dataset) == IMAGES
    assert not is_sample(job)


def test_a_download_that_always_breaks_off_gives_the_sample_set(job: Job, box: Box) -> None:
    box.break_off_times = 99
    run(job)
    assert is_sample(job)
    assert_nothing_half_done(job)


@pytest.mark.parametrize("trouble", ["status", "no archive", "too few images", "damaged", "class missing"])
def test_what_cannot_be_used_never_takes_the_data_sets_place(
    job: Job, box: Box, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "status":
        box.status = 404
    elif trouble == "no archive":
        box.content = b"<html>please log in</html>"
    elif trouble == "too few images":
        box.content = archive(leave_out="training/3_1.jpg")
    elif trouble == "damaged":
        place = box.content.index(b"evaluation 5 0 ") + 3000
        box.content = box.content[:place] + b"\xff\xff\xff" + box.content[place + 3 :]
    else:
        box.content = archive().replace(b"evaluation/10_", b"evaluation/99_")
    run(job)
    assert is_sample(job)
    assert "not available" in caplog.text
    counts = count_images(job.dataset)
    assert all(counts[split][number] for split in SPLITS for number in range(len(CLASSES)))
    assert_nothing_half_done(job)


def test_leftovers_of_a_killed_run_are_no_obstacle(job: Job) -> None:
    job.partial_folder.mkdir(parents=True)
    (job.partial_folder / "junk").write_bytes(b"half")
    job.partial_zip.write_bytes(b"half")
    run(job)
    assert total(job.dataset) == IMAGES
    assert_nothing_half_done(job)


def test_files_that_are_no_data_set_are_never_wiped(job: Job, box: Box) -> None:
    job.dataset.mkdir(parents=True)
    (job.dataset / "thesis.txt").write_text("years of work", encoding="utf-8")
    assert extract_data.main(["--target", str(job.target), "--url", job.url]) == 1
    assert (job.dataset / "thesis.txt").exists()
    assert box.requests == 0


def test_a_sample_set_stays_until_its_replacement_is_asked_for(job: Job, box: Box) -> None:
    box.status = 503
    run(job)
    transform_data.sort_images(job.dataset)
    box.status = 200
    run(job)
    assert is_sample(job)
    assert box.requests == 1
    run(job, replace_sample=True)
    assert not is_sample(job)
    assert total(job.dataset) == IMAGES
    assert_nothing_half_done(job)


def test_a_failed_replacement_leaves_the_sample_set(job: Job, box: Box) -> None:
    box.status = 503
    run(job)
    before = total(job.dataset)
    run(job, replace_sample=True)
    assert is_sample(job)
    assert total(job.dataset) == before


def test_images_are_sorted_into_class_folders_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    for name in ("0_1.jpg", "10_2.jpg", "11_3.jpg", "notes.txt", "x_1.jpg"):
        (tmp_path / "training" / name).write_bytes(name.encode())
    assert transform_data.sort_images(tmp_path) == 2
    assert (tmp_path / "training" / "class_00" / "0_1.jpg").read_bytes() == b"0_1.jpg"
    assert (tmp_path / "training" / "class_10" / "10_2.jpg").exists()
    assert {path.name for path in (tmp_path / "training").iterdir() if path.is_file()} == {
        "11_3.jpg",
        "notes.txt",
        "x_1.jpg",
    }
    assert transform_data.sort_images(tmp_path) == 0


def plain_python(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a job without site packages: what a plain Python image has."""
    program = [sys.executable, "-S", "-E", "-m", module, *arguments]
    return subprocess.run(program, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_both_jobs_run_in_a_plain_python_and_print_their_counts(tmp_path: Path) -> None:
    arguments = ("--target", str(tmp_path), "--url", "http://127.0.0.1:9/unreachable.zip")
    for _ in range(2):
        extracted = plain_python("data_generator.extract_data", *arguments)
        sorted_ = plain_python("data_generator.transform_data", "--dataset", str(tmp_path / "Food-11"))
        assert (extracted.returncode, sorted_.returncode) == (0, 0), extracted.stderr + sorted_.stderr
        assert "SAMPLE SET" in extracted.stdout
        for output in (extracted.stdout, sorted_.stdout):
            assert output.count("Noodles/Pasta") == len(SPLITS)
            assert "training: 22 images" in output
            assert "total: 66 images" in output
    assert len(list((tmp_path / "Food-11").rglob("class_??/*.jpg"))) == 66


def test_sorting_without_a_data_set_fails_with_a_sentence(tmp_path: Path) -> None:
    result = plain_python("data_generator.transform_data", "--dataset", str(tmp_path / "nothing"))
    assert result.returncode == 1
    assert "run extract_data first" in result.stdout
