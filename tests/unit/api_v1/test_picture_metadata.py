"""Metadata go, pictures stay."""

import contextlib
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from api_v1.errors import NotAnImageError
from api_v1.image_check import clean_image
from api_v1.picture_metadata import without_metadata

FORMATS = ("JPEG", "PNG", "WEBP")
SECRET = b"SECRET-52.5200N-13.4050E"
MANY = 50_000_000
ORIENTATION, MAKE, GPS, LATITUDE = 0x0112, 0x010F, 0x8825, 2


def drawn(size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3)).convert(mode)


def exif(orientation: int | None) -> Image.Exif:
    """A camera's name and a place, as phones write them."""
    made = Image.Exif()
    made[MAKE] = SECRET.decode()
    made.get_ifd(GPS)[LATITUDE] = (52.0, 31.0, 12.0)
    if orientation is not None:
        made[ORIENTATION] = orientation
    return made


def encoded(format_name: str, orientation: int | None = None, **options: object) -> bytes:
    """A picture with everything that its format can say besides."""
    file, image = io.BytesIO(), drawn()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
    more: dict[str, object] = {"exif": exif(orientation), "icc_profile": profile}
    if format_name == "PNG":
        info = PngInfo()
        info.add_text("Comment", SECRET.decode())
        info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=False)
        info.add_text("Author", SECRET.decode(), zip=True)
        info.add(b"tIME", b"\x07\xea\x01\x01\0\0\0")
        more["pnginfo"] = info
    else:
        more["xmp"] = xmp
    if format_name == "JPEG":
        more["comment"] = SECRET
    image.save(file, format_name, **more, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_only_pixels_colour_profile_and_orientation_stay(format_name: str, orientation: int | None) -> None:
    data = encoded(format_name, orientation)
    before, cleaned = opened(data), without_metadata(data)
    after = opened(cleaned)
    assert SECRET in data
    assert SECRET not in cleaned
    assert after.tobytes() == before.tobytes()
    assert after.info["icc_profile"] == before.info["icc_profile"]
    assert dict(after.getexif()) == ({ORIENTATION: orientation} if orientation in (3, 6, 8) else {})
    assert set(after.info) - set(before.info) == set()
    assert not {"xmp", "comment", "Comment", "Author"} & set(after.info)


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("tail", [b"\0", b"<?php secret ?>", b"PK\x03\x04" + bytes(500), b"\xff\xd8\xff\xe0" + SECRET])
def test_bytes_behind_the_picture_go(format_name: str, tail: bytes) -> None:
    cleaned = without_metadata(encoded(format_name))
    assert without_metadata(cleaned + tail) == cleaned


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("PNG", {}),
        ("PNG", {"optimize": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"save_all": True, "append_images": [drawn(), drawn()]}),
        ("PNG", {"save_all": True, "append_images": [drawn(), drawn()]}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_a_file_without_metadata_stays_as_it_is(format_name: str, options: dict[str, object]) -> None:
    file = io.BytesIO()
    drawn().save(file, format_name, **options)
    data = file.getvalue()
    assert without_metadata(data) is data


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_the_colours_of_every_kind_of_jpeg_stay(mode: str) -> None:
    file = io.BytesIO()
    drawn(mode=mode).save(file, "JPEG", exif=exif(6), progressive=True)
    assert opened(without_metadata(file.getvalue())).tobytes() == opened(file.getvalue()).tobytes()


def test_the_second_picture_of_a_phone_goes() -> None:
    file = io.BytesIO()
    drawn().save(file, "MPO", save_all=True, append_images=[drawn((20, 20))])
    cleaned = without_metadata(file.getvalue())
    assert opened(cleaned).format == "JPEG"
    assert len(cleaned) < len(file.getvalue())


def test_a_jpeg_without_its_last_marker_is_taken_as_before() -> None:
    data = without_metadata(encoded("JPEG"))[:-2]
    assert without_metadata(data) is data


@pytest.mark.parametrize("format_name", FORMATS)
def test_cleaning_twice_changes_nothing_more(format_name: str) -> None:
    cleaned = without_metadata(encoded(format_name, 6))
    assert without_metadata(cleaned) is cleaned


@given(st.sampled_from(FORMATS), st.floats(0, 0.95))
def test_a_truncated_file_is_refused_wherever_it_ends(format_name: str, part: float) -> None:
    data = without_metadata(encoded(format_name, 6))
    with pytest.raises(NotAnImageError):
        clean_image(data[: int(len(data) * part)], MANY)


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=5))
def test_a_damaged_file_is_taken_or_refused_but_never_an_accident(
    format_name: str, damages: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(format_name, 6))
    for place, value in damages:
        data[place % len(data)] = value
    with contextlib.suppress(NotAnImageError):
        cleaned, _ = clean_image(bytes(data), MANY)
        assert without_metadata(cleaned) == cleaned


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBP"]))
def test_nothing_but_a_refusal_comes_out_of_garbage(data: bytes, start: bytes) -> None:
    with pytest.raises(NotAnImageError):
        clean_image(start + data, MANY)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\xff\xd0"])
@pytest.mark.parametrize("start", [b"\xff\xda\x00\x02", b""], ids=["scan", "segments"])
def test_long_fillings_take_no_longer_than_their_length(start: bytes, filling: bytes) -> None:
    # With time in proportion to the square, this takes hours.
    data = b"\xff\xd8" + start + filling * 2_000_000
    with contextlib.suppress(ValueError, IndexError):
        assert len(without_metadata(data)) <= len(data)
