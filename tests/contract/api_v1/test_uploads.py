"""POST /upload/."""

import asyncio
import io
import struct
import uuid
import zlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.api import NOBODY, Api, picture
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

FIELDS = {"id", "user_id", "s3_url", "source", "caption", "category", "views", "created_at", "deleted_at"}


@pytest.mark.parametrize(
    ("format_name", "extension", "content_type"),
    [("JPEG", "jpg", "image/jpeg"), ("PNG", "png", "image/png"), ("WEBP", "webp", "image/webp")],
)
async def test_an_image_becomes_an_object_and_a_row_whatever_its_file_name_says(
    api: Api, format_name: str, extension: str, content_type: str
) -> None:
    user_id = await api.user()
    data = picture(format_name)
    answer = await api.upload(user_id, data, name="../../etc/passwd.exe", caption="A caption", category=" Soup ")
    assert answer.status_code == 200
    image = answer.json()
    assert set(image) == FIELDS
    bucket = api.environment["S3_BUCKET_NAME"]
    assert image["s3_url"] == f"{api.environment['S3_ENDPOINT_URL']}/{bucket}/{image['id']}.{extension}"
    stored = await asyncio.to_thread(api.s3.get_object, Bucket=bucket, Key=f"{image['id']}.{extension}")
    assert stored["ContentType"] == content_type
    assert stored["Body"].read() == data
    row = await api.row("SELECT * FROM images WHERE id = $1", image["id"])
    assert (row["source"], row["caption"], row["category"], row["views"]) == ("user_upload", "A caption", "Soup", 0)
    assert str(row["user_id"]) == image["user_id"] == user_id
    assert datetime.fromisoformat(image["created_at"]) == row["created_at"]
    assert image["deleted_at"] is None


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
async def test_the_stored_picture_tells_no_place_and_hides_no_bytes_behind_its_end(api: Api, format_name: str) -> None:
    image, exif, file = Image.open(io.BytesIO(picture(format_name))), Image.Exif(), io.BytesIO()
    exif[0x010F] = "SECRET"
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    image.save(file, format_name, exif=exif)
    sent = file.getvalue()
    assert b"SECRET" in sent
    answer = await api.upload(await api.user(), sent + b"SECRET tail")
    bucket, key = api.environment["S3_BUCKET_NAME"], answer.json()["s3_url"].rpartition("/")[2]
    stored = (await asyncio.to_thread(api.s3.get_object, Bucket=bucket, Key=key))["Body"].read()
    assert b"SECRET" not in stored
    opened = Image.open(io.BytesIO(stored))
    assert opened.tobytes() == Image.open(io.BytesIO(sent)).tobytes()
    assert dict(opened.getexif()) == {0x0112: 6}


async def test_caption_and_category_are_optional_and_empty_means_absent(api: Api) -> None:
    user_id = await api.user()
    for fields in ({}, {"caption": "", "category": ""}, {"category": "   "}):
        image = (await api.upload(user_id, picture(), **fields)).json()
        assert image["caption"] is None
        assert image["category"] is None


async def test_a_category_outside_the_eleven_is_stored(api: Api) -> None:
    image = (await api.upload(await api.user(), picture(), category="Cutlery")).json()
    assert image["category"] == "Cutlery"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello", "text"),
        (b"GIF89a" + bytes(100), "another format"),
        (picture()[:-600], "truncated JPEG"),
        (picture("PNG")[:-600], "truncated PNG"),
        (picture("WEBP")[:-600], "truncated WebP"),
        (b"\xff\xd8\xff\xe0" + bytes(500), "a JPEG's first bytes only"),
        (picture("BMP"), "an image, but BMP"),
        (picture("GIF"), "an image, but GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_does_not_decode_is_refused_with_415_and_leaves_nothing(
    api: Api, data: bytes, why: str
) -> None:
    user_id = await api.user()
    before = await api.traces()
    answer = await api.upload(user_id, data)
    assert answer.status_code == 415, why
    assert answer.json()["detail"].endswith(".")
    assert await api.traces() == before


async def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(api: Api) -> None:
    user_id = await api.user()
    header = picture("PNG", (1, 1))
    # Width and height of the header chunk, and its checksum, as a bomb would have them.
    chunk = b"IHDR" + struct.pack(">II", 60_000, 60_000) + header[24:29]
    bomb = header[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + header[33:]
    answer = await api.upload(user_id, bomb)
    assert answer.status_code == 415
    assert "pixels" in answer.json()["detail"]


async def test_an_unknown_user_is_404_and_leaves_no_object(api: Api) -> None:
    before = await api.traces()
    answer = await api.upload(str(uuid.uuid4()), picture())
    assert (answer.status_code, answer.json()) == (404, {"detail": "User not found"})
    assert await api.traces() == before


async def test_a_user_who_was_deleted_after_an_upload_is_404_and_the_object_goes_again(api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.traces()
    await api.database.execute("DELETE FROM images WHERE id = $1", image_id)
    await api.database.execute("DELETE FROM users WHERE id = $1", user_id)
    answer = await api.upload(user_id, picture())
    assert (answer.status_code, answer.json()) == (404, {"detail": "User not found"})

    async def object_gone() -> bool:
        return (await api.traces())["objects"] == before["objects"]

    await wait_until_async(object_gone, what="the object's removal")


@pytest.mark.parametrize(
    "fields",
    [
        {"caption": "x" * 2001},
        {"caption": "  "},
        {"caption": "a\x00b"},
        {"category": "x" * 65},
        {"category": "a\x1bb"},
        {"user_id": "not-a-uuid"},
        {"user_id": NOBODY.replace("-", "")},
        {"unknown": "field"},
    ],
    ids=str,
)
async def test_a_text_field_outside_its_rule_is_422_and_leaves_nothing(api: Api, fields: dict[str, str]) -> None:
    user_id = await api.user()
    before = await api.traces()
    answer = await api.http.post("/upload/", data={"user_id": user_id, **fields}, files={"file": ("x", picture())})
    assert answer.status_code == 422, answer.text
    assert await api.traces() == before


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"user_id": "U"}},
        {"data": {"user_id": "U", "file": "text"}},
        {"files": {"file": ("x", picture())}},
        {"files": [("user_id", (None, "U")), ("file", ("x", picture())), ("file", ("y", picture()))]},
        {"files": [("user_id", (None, "U")), ("user_id", (None, "U")), ("file", ("x", picture()))]},
        {"files": [("user_id", ("u", b"U")), ("file", ("x", picture()))]},
        {"json": {"user_id": "U"}},
        {"content": b"no form", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--b\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        {"content": b"", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        {},
    ],
    ids=[
        "no file",
        "file as text",
        "no user",
        "two files",
        "user twice",
        "user as file",
        "JSON",
        "no boundary",
        "broken part",
        "empty form",
        "nothing",
    ],
)
async def test_a_malformed_form_is_422_and_leaves_nothing(api: Api, form: dict[str, Any]) -> None:
    before = await api.traces()
    answer = await api.http.post("/upload/", **form)
    assert answer.status_code == 422, answer.text
    assert await api.traces() == before


async def test_a_file_over_the_limit_is_413_announced_or_not(api: Api) -> None:
    before = await api.traces()
    limit = 10 * 1024 * 1024
    user_id = await api.user()
    assert (await api.upload(user_id, bytes(limit + 1))).status_code == 413
    assert (await api.upload(user_id, bytes(limit + 200_000))).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(200):
            yield bytes(100_000)

    answer = await api.http.post(
        "/upload/", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 413
    after = await api.traces()
    assert {**after, "users": 0} == {**before, "users": 0}


async def test_a_file_just_within_the_limit_is_taken(api: Api) -> None:
    data = picture()
    # Bytes behind a JPEG's end are allowed by its decoders.
    answer = await api.upload(await api.user(), data + bytes(10 * 1024 * 1024 - len(data)))
    assert answer.status_code == 200


async def test_uploads_at_the_same_time_do_not_mix(api: Api) -> None:
    user_id = await api.user()
    files = [picture(seed=number) for number in range(12)]
    answers: list[httpx.Response] = await asyncio.gather(*(api.upload(user_id, data) for data in files))
    bucket = api.environment["S3_BUCKET_NAME"]
    for answer, data in zip(answers, files, strict=True):
        key = answer.json()["s3_url"].rpartition("/")[2]
        stored = await asyncio.to_thread(api.s3.get_object, Bucket=bucket, Key=key)
        assert stored["Body"].read() == data
