"""Fetching and sorting the data set: complete or not at all, never twice, and without any installed package."""

import io
import itertools
import logging
import random
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_generator import extract_data, transform_data
from data_generator.dataset import Food11
from data_generator.extract_data import SAMPLE_MARKER, DatasetJob, run
from data_generator.food11 import CLASSES, SPLITS, class_folder, class_of_name, count_images
from gourmetgram.settings import PROJECT_ROOT
from tests.support.waiting import wait_until

PER_CLASS = 2
IMAGES = len(SPLITS) * len(CLASSES) * PER_CLASS
JPEG_START = b"\xff\xd8\xff"


def archive_of(prefix: str = "", images: int = IMAGES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip in the layout of Food-11 with as many images, and things that do not belong to it."""
    buffer = io.BytesIO()
    places = itertools.product(SPLITS, range(len(CLASSES)), range(PER_CLASS))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(f"{prefix}readme.txt", "not an image")
        archive.writestr(f"__MACOSX/{prefix}training/0_0.jpg", "a shadow")
        for split, number, index in itertools.islice(places, images):
            content = JPEG_START + f"{split} {number} {index}".encode() * 50
            archive.writestr(f"{prefix}{split}/{number}_{index}.jpg", content)
    return buffer.getvalue()


class ArchiveServer:
    """Serves one file over HTTP, badly if asked to.

    Attributes:
        content: what it serves.
        cut_after: bytes after which the connection breaks, for the first `cuts` requests.
        stall: stops sending there instead of breaking the connection.
        requests: how many came.
    """

    def __init__(self) -> None:
        self.content = archive_of()
        self.cut_after = 0
        self.cuts = 0
        self.stall: threading.Event | None = None
        self.requests = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/food.zip"

    def close(self) -> None:
        if self.stall:
            self.stall.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(served: "ArchiveServer") -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.requests += 1
                cut = served.requests <= served.cuts
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.content)))
                self.end_headers()
                self.wfile.write(served.content[: served.cut_after] if cut else served.content)
                self.wfile.flush()
                if cut and served.stall:
                    served.stall.wait()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody needs to read it."""

        return Handler


@pytest.fixture(name="server")
def server_fixture() -> Iterator[ArchiveServer]:
    server = ArchiveServer()
    yield server
    server.close()


@pytest.fixture(name="job")
def job_fixture(server: ArchiveServer, tmp_path: Path) -> DatasetJob:
    return DatasetJob(tmp_path / "data", server.url, expected_images=IMAGES, timeout_s=5.0)


@pytest.fixture(autouse=True)
def _keep_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/food.zip"


@pytest.mark.parametrize("prefix", ["", "Food-11/", "some/where/"])
def test_the_archive_is_unpacked_whatever_folder_it_keeps_the_splits_in(
    server: ArchiveServer, job: DatasetJob, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.content = archive_of(prefix)
    run(job)
    files = contents(job.target)
    assert len(files) == IMAGES
    assert files["Food-11/evaluation/10_1.jpg"].startswith(JPEG_START + b"evaluation 10 1")
    assert f"training: {len(CLASSES) * PER_CLASS} images" in caplog.messages
    assert f"total: {IMAGES} images" in caplog.messages


def test_a_second_run_neither_downloads_nor_changes_a_file(
    server: ArchiveServer, job: DatasetJob, caplog: pytest.LogCaptureFixture
) -> None:
    run(job)
    own = job.dataset / "training" / "notes.txt"
    own.write_text("mine")
    before = contents(job.target)
    caplog.clear()
    run(job)
    transform_data.sort_images(job.dataset)
    after_sorting = contents(job.target)
    run(job)
    assert server.requests == 1
    assert own.read_text() == "mine"
    assert sorted(before.values()) == sorted(after_sorting.values())
    assert contents(job.target) == after_sorting
    assert caplog.messages.count(f"total: {IMAGES} images") == 2


def test_a_download_that_breaks_off_is_tried_again(server: ArchiveServer, job: DatasetJob) -> None:
    server.cut_after, server.cuts = 1000, 2
    run(job)
    assert server.requests == 3
    assert len(contents(job.target)) == IMAGES


def test_a_download_that_always_breaks_off_ends_in_the_sample_set(
    server: ArchiveServer, job: DatasetJob, caplog: pytest.LogCaptureFixture
) -> None:
    server.cut_after, server.cuts = 1000, 99
    run(job)
    assert server.requests == 3
    assert_sample(job)
    assert f"1000 of {len(server.content)} bytes arrived" in caplog.text


def test_an_unreachable_source_is_said_and_replaced_by_the_sample_set(
    job: DatasetJob, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable = DatasetJob(job.target, unused_url())
    run(unreachable)
    assert_sample(unreachable)
    assert "cannot be reached" in caplog.text
    assert "SAMPLE SET" in caplog.text


def test_an_answer_that_is_no_http_counts_as_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = threading.Thread(target=answer_nonsense, args=(listener,))
        answer.start()
        job = DatasetJob(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/food.zip", timeout_s=5.0)
        run(job)
        answer.join()
    assert_sample(job)


def answer_nonsense(listener: socket.socket) -> None:
    connection, _address = listener.accept()
    with connection:
        connection.recv(10_000)
        connection.sendall(b"220 a mail server\r\n")


def changed_byte(content: bytes) -> bytes:
    """The archive with another byte in the compressed data of an image."""
    place = content.rindex(b"evaluation/9_0.jpg", 0, content.index(b"PK\x01\x02")) + 25
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[], bytes]] = {
    "a web page instead of an archive": lambda: b"<html>This link has expired</html>",
    "one image too few": lambda: archive_of(images=IMAGES - 1),
    "a wrong byte in compressed data": lambda: changed_byte(archive_of()),
    "a wrong byte in stored data": lambda: changed_byte(archive_of(method=zipfile.ZIP_STORED)),
    "only the first half": lambda: archive_of()[: len(archive_of()) // 2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_leaves_nothing_of_it_behind(server: ArchiveServer, job: DatasetJob, damage: str) -> None:
    server.content = DAMAGES[damage]()
    run(job)
    assert_sample(job)


def test_a_class_without_images_in_a_split_counts_as_damage(server: ArchiveServer, job: DatasetJob) -> None:
    fewer = DatasetJob(job.target, job.url, expected_images=IMAGES - PER_CLASS)
    server.content = archive_of(images=IMAGES - PER_CLASS)
    run(fewer)
    assert_sample(fewer)


def assert_sample(job: DatasetJob) -> None:
    """The sample set is there, complete, and nothing else."""
    assert [path.name for path in job.target.iterdir()] == ["Food-11"]
    files = contents(job.dataset)
    del files[SAMPLE_MARKER]
    assert files == contents(job.sample)


def test_the_sample_set_makes_room_for_the_data_set_only_when_asked_and_only_when_it_arrives(
    server: ArchiveServer, job: DatasetJob
) -> None:
    run(DatasetJob(job.target, unused_url()))
    run(job)
    assert server.requests == 0
    run(DatasetJob(job.target, unused_url()), replace_sample=True)
    assert_sample(job)
    run(job, replace_sample=True)
    assert len(contents(job.target)) == IMAGES
    run(job, replace_sample=True)
    assert server.requests == 1


def test_a_folder_with_other_things_is_not_touched(
    server: ArchiveServer, job: DatasetJob, caplog: pytest.LogCaptureFixture
) -> None:
    job.dataset.mkdir(parents=True)
    (job.dataset / "thesis.txt").write_text("the only copy")
    assert extract_data.main(["--target", str(job.target), "--url", server.url]) == 1
    assert contents(job.target) == {"Food-11/thesis.txt": b"the only copy"}
    assert "move it away first" in caplog.text


def test_a_killed_download_leaves_no_data_set_and_the_next_run_completes_it(
    server: ArchiveServer, job: DatasetJob
) -> None:
    server.cut_after, server.cuts, server.stall = 1000, 1, threading.Event()
    # -S: without any installed package, as in a plain Python image.
    command = [sys.executable, "-S", "-m", "data_generator.extract_data", "--target", str(job.target)]
    command += ["--url", server.url, "--expected-images", str(IMAGES)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL) as process:
        wait_until(job.partial_zip.exists, 20.0, "the download's begin")
        process.kill()
    assert not job.dataset.exists()
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert f"total: {IMAGES} images" in done.stdout
    assert len(contents(job.target)) == IMAGES


def test_images_are_sorted_into_class_folders_and_counted(
    server: ArchiveServer, job: DatasetJob, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run(job)
    before = sorted(contents(job.dataset).values())
    caplog.clear()
    assert transform_data.main(["--dataset", str(job.dataset)]) == 0
    assert f"Sorted {IMAGES} images of {job.dataset} into class folders" in caplog.messages
    assert f"total: {IMAGES} images" in caplog.messages
    expected = {
        f"{split}/class_{number:02d}/{number}_{index}.jpg"
        for split, number, index in itertools.product(SPLITS, range(11), range(PER_CLASS))
    }
    files = contents(job.dataset)
    assert set(files) == expected
    assert sorted(files.values()) == before
    caplog.clear()
    assert transform_data.main(["--dataset", str(job.dataset)]) == 0
    assert f"Sorted 0 images of {job.dataset} into class folders" in caplog.messages
    assert contents(job.dataset) == files


def test_an_interrupted_sorting_goes_on_where_it_stopped(server: ArchiveServer, job: DatasetJob) -> None:
    run(job)
    folder = job.dataset / "training" / class_folder(6)
    folder.mkdir()
    (job.dataset / "training" / "6_0.jpg").rename(folder / "6_0.jpg")
    assert transform_data.sort_images(job.dataset) == IMAGES - 1
    assert count_images(job.dataset).keys() == set(SPLITS)
    assert all(numbers[number] == PER_CLASS for numbers in count_images(job.dataset).values() for number in range(11))


def test_class_names_with_a_slash_are_names_and_never_paths(server: ArchiveServer, job: DatasetJob) -> None:
    run(job)
    transform_data.sort_images(job.dataset)
    assert {path.name for path in (job.dataset / "training").iterdir()} == {class_folder(n) for n in range(11)}
    index = Food11.index(job.dataset)
    assert index is not None and len(index) == IMAGES
    rng = random.Random(1)
    choices = [index.choose(rng) for _ in range(500)]
    assert {choice.category for choice in choices} == set(CLASSES)
    noodles = next(choice for choice in choices if choice.category == "Noodles/Pasta")
    assert noodles.filename in {"6_0.jpg", "6_1.jpg"}
    assert b" 6 " in noodles.read()


@pytest.mark.parametrize(
    ("name", "number"),
    [("0_1.jpg", 0), ("10_999.JPG", 10), ("03_x_y.jpeg", 3), ("11_1.jpg", None), ("x_1.jpg", None), ("1-1.jpg", None)],
)
def test_the_class_is_the_number_before_the_underscore(name: str, number: int | None) -> None:
    assert class_of_name(name) == number


def test_sorting_says_when_there_is_nothing_to_sort_or_a_class_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert transform_data.main(["--dataset", str(tmp_path / "nowhere")]) == 1
    assert "run extract_data first" in caplog.text
    shutil.copytree(extract_data.SAMPLE_FOLDER, tmp_path / "Food-11")
    for path in (tmp_path / "Food-11" / "evaluation").glob("4_*"):
        path.unlink()
    assert transform_data.main(["--dataset", str(tmp_path / "Food-11")]) == 1
    assert "no images in evaluation/class_04" in caplog.text
