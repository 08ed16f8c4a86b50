"""Fetch the Food-11 data set, or put the bundled sample set in its place: `python -m data_generator.extract_data`.

Standard library only: it runs in a plain Python image. An existing data set is never downloaded again or deleted. The
archive is downloaded to a temporary name, unpacked into a temporary folder, and counted. Only then is it moved to its
place, so an interruption leaves nothing half done.
"""

import argparse
import logging
import shutil
import sys
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final

from data_generator.food11 import CLASSES, SPLITS, count_images, counts_report

URL: Final = "https://nyu.box.com/shared/static/m5kvcl25hfpljul3elhu6xz8y2w61op4.zip"
IMAGES_IN_FOOD_11: Final = 16_643
SAMPLE_FOLDER: Final = Path(__file__).resolve().parent / "sample"
SAMPLE_MARKER: Final = "SAMPLE_SET"

_DATASET: Final = "Food-11"
_PARTIAL_ZIP: Final = ".Food-11.zip.part"
_PARTIAL_FOLDER: Final = ".Food-11.part"
_ATTEMPTS: Final = 3
_BLOCK_BYTES: Final = 1 << 20
_PROGRESS_EVERY_S: Final = 5.0

log = logging.getLogger("extract-data")


class DataSetUnavailableError(Exception):
    """The data set cannot be fetched from its source; the text gives the reason."""


class DownloadBrokenError(Exception):
    """An established connection broke; a retry may help, unlike for a server that cannot be reached."""


@dataclass(frozen=True)
class DatasetJob:
    """Source and target of a download.

    Attributes:
        target: parent folder of `Food-11/`.
        url: address of the archive.
        sample: folder with the sample set, unsorted: `<split>/<class>_<n>.jpg`.
        expected_images: number of images in a complete archive.
        timeout_s: seconds of silence after which a connection is given up.
    """

    target: Path
    url: str = URL
    sample: Path = SAMPLE_FOLDER
    expected_images: int = IMAGES_IN_FOOD_11
    timeout_s: float = 20.0

    @property
    def dataset(self) -> Path:
        """The finished data set."""
        return self.target / _DATASET

    @property
    def partial_zip(self) -> Path:
        """The archive while it is downloaded."""
        return self.target / _PARTIAL_ZIP

    @property
    def partial_folder(self) -> Path:
        """The data set while it is unpacked."""
        return self.target / _PARTIAL_FOLDER


def run(job: DatasetJob, *, replace_sample: bool = False) -> None:
    """Put a data set in place unless there is one, and log its source.

    Args:
        job: source and target of the download.
        replace_sample: download again even when the sample set is in place.

    Raises:
        OSError: the target cannot be written, or holds something that is no data set.
    """
    job.target.mkdir(parents=True, exist_ok=True)
    is_sample = (job.dataset / SAMPLE_MARKER).exists()
    images = sum(numbers.total() for numbers in count_images(job.dataset).values())
    if images and not (is_sample and replace_sample):
        log.info("A data set is in place in %s: nothing to download", job.dataset)
        _report(job)
        return
    if not images and job.dataset.exists() and any(job.dataset.iterdir()):
        raise FileExistsError(f"{job.dataset} holds files but no images of a data set: move it away first")
    try:
        _fetch(job)
    except DataSetUnavailableError as error:
        log.warning("The Food-11 data set is not available: %s", error)
        if not images:
            _place_sample(job)
    finally:
        job.partial_zip.unlink(missing_ok=True)
        shutil.rmtree(job.partial_folder, ignore_errors=True)
    _report(job)


def _report(job: DatasetJob) -> None:
    if (job.dataset / SAMPLE_MARKER).exists():
        log.info("Source: the bundled SAMPLE SET (drawn pictures), used because Food-11 could not be downloaded.")
        log.info("To try the download again, run this job with --replace-sample.")
    else:
        log.info("Source: the Food-11 data set")
    for line in counts_report(count_images(job.dataset)):
        log.info(line)


def _fetch(job: DatasetJob) -> None:
    """Download the archive, unpack it, check it, and move it to its place."""
    for attempt in range(1, _ATTEMPTS + 1):
        log.info("Downloading %s", job.url)
        try:
            _download(job)
            break
        except DownloadBrokenError as error:
            log.warning("The download broke off: %s", error)
            if attempt == _ATTEMPTS:
                raise DataSetUnavailableError(f"the download broke off {_ATTEMPTS} times") from error
    _unpack(job)
    if job.dataset.exists():
        # The folder is empty, or holds the sample set that is to be replaced.
        shutil.rmtree(job.dataset)
    job.partial_folder.rename(job.dataset)


def _download(job: DatasetJob) -> None:
    try:
        response: HTTPResponse = urllib.request.urlopen(job.url, timeout=job.timeout_s)  # noqa: S310 - the URL is ours
    except (OSError, HTTPException) as error:
        # Refused, unknown host, time-out, every HTTP status that is no success, and an answer that is no HTTP.
        raise DataSetUnavailableError(f"{job.url} cannot be reached ({error})") from error
    with response, job.partial_zip.open("wb") as archive:
        expected = int(response.headers.get("Content-Length") or 0)
        done, last = 0, time.monotonic()
        while block := _next_block(response):
            archive.write(block)
            done += len(block)
            if time.monotonic() - last >= _PROGRESS_EVERY_S:
                last = time.monotonic()
                log.info("  %s", _progress(done, expected))
    if expected and done < expected:
        raise DownloadBrokenError(f"{done} of {expected} bytes arrived")
    log.info("  %s, complete", _progress(done, expected))


def _next_block(response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise DownloadBrokenError(str(error) or type(error).__name__) from error


def _progress(done: int, expected: int) -> str:
    megabytes = f"{done / 1e6:.0f} MB"
    return f"{megabytes} of {expected / 1e6:.0f} MB ({done / expected:.0%})" if expected else megabytes


def _unpack(job: DatasetJob) -> None:
    """Unpack the images of the archive; every byte is checked against its checksum."""
    shutil.rmtree(job.partial_folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(job.partial_zip) as archive:
            members = _image_members(archive)
            if len(members) != job.expected_images:
                raise DataSetUnavailableError(f"the archive has {len(members)} images instead of {job.expected_images}")
            _extract_members(archive, members, job.partial_folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: encrypted, or compressed in a way that Python does not know.
        raise DataSetUnavailableError(f"the archive is damaged ({error})") from error
    for split, numbers in count_images(job.partial_folder).items():
        missing = [CLASSES[number] for number in range(len(CLASSES)) if not numbers[number]]
        if missing:
            raise DataSetUnavailableError(f"the archive has no images of {', '.join(missing)} in {split}")


def _image_members(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str, str]]:
    """Images of the splits at any depth of the archive: member, split, file name."""
    members = []
    for member in archive.infolist():
        parts = Path(member.filename).parts
        # macOS archives carry a shadow of each file in a folder of this name.
        if member.is_dir() or len(parts) < 2 or "__MACOSX" in parts:
            continue
        if parts[-2] in SPLITS and parts[-1].lower().endswith(".jpg"):
            members.append((member, parts[-2], parts[-1]))
    return members


def _extract_members(
    archive: zipfile.ZipFile, members: Sequence[tuple[zipfile.ZipInfo, str, str]], folder: Path
) -> None:
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
    last = time.monotonic()
    for number, (member, split, name) in enumerate(members, start=1):
        with archive.open(member) as source, (folder / split / name).open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)
        if time.monotonic() - last >= _PROGRESS_EVERY_S:
            last = time.monotonic()
            log.info("  %d of %d images unpacked", number, len(members))


def _place_sample(job: DatasetJob) -> None:
    shutil.rmtree(job.partial_folder, ignore_errors=True)
    for split in SPLITS:
        (job.partial_folder / split).mkdir(parents=True)
        for path in sorted((job.sample / split).iterdir()):
            # Contents only: the sample may be mounted read-only, and a full copy would copy that mode.
            shutil.copyfile(path, job.partial_folder / split / path.name)
    (job.partial_folder / SAMPLE_MARKER).write_text("Drawn pictures in the layout of Food-11.\n", encoding="utf-8")
    if job.dataset.exists():
        job.dataset.rmdir()
    job.partial_folder.rename(job.dataset)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Fetch the Food-11 data set, or use the bundled sample set.")
    parser.add_argument("--target", type=Path, default=Path("/data"), help="folder that gets Food-11/")
    parser.add_argument("--sample", type=Path, default=SAMPLE_FOLDER, help="folder with the sample set")
    parser.add_argument("--url", default=URL, help="where the archive is")
    parser.add_argument("--expected-images", type=int, default=IMAGES_IN_FOOD_11, help="images in the archive")
    parser.add_argument("--replace-sample", action="store_true", help="download although the sample set is in place")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    job = DatasetJob(options.target, options.url, options.sample, options.expected_images)
    try:
        run(job, replace_sample=options.replace_sample)
    except OSError as error:
        log.error("The data set could not be put in place: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
