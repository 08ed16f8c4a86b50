"""Which files are images."""

import contextlib
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api_v1.errors import NotAnImageError
from api_v1.image_check import check_image, decoding_bytes

MANY = 50_000_000


def encoded(format_name: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(file, format_name, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "extension"),
    [
        (encoded("JPEG"), "jpg"),
        (encoded("JPEG", "L"), "jpg"),
        (encoded("JPEG", "CMYK"), "jpg"),
        (encoded("JPEG", progressive=True), "jpg"),
        (encoded("JPEG", size=(1, 1)), "jpg"),
        (encoded("MPO"), "jpg"),
        (encoded("PNG", "P"), "png"),
        (encoded("PNG", "RGBA"), "png"),
        (encoded("WEBP", "RGBA"), "webp"),
        (encoded("WEBP", lossless=True), "webp"),
    ],
)
def test_the_formats_are_recognised_by_their_content(data: bytes, extension: str) -> None:
    assert check_image(data, MANY).extension == extension


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.floats(0, 0.95))
def test_a_truncated_file_is_refused_wherever_it_ends(format_name: str, part: float) -> None:
    data = encoded(format_name)
    with pytest.raises(NotAnImageError):
        check_image(data[: int(len(data) * part)], MANY)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP"])
)
def test_nothing_but_a_refusal_comes_out_of_garbage(data: bytes, start: bytes) -> None:
    with pytest.raises(NotAnImageError):
        check_image(start + data, MANY)


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 5_000), st.integers(0, 255))
def test_a_damaged_file_is_taken_or_refused_but_never_an_accident(format_name: str, place: int, value: int) -> None:
    data = bytearray(encoded(format_name))
    data[place % len(data)] = value
    with contextlib.suppress(NotAnImageError):
        check_image(bytes(data), MANY)


def test_too_many_pixels_are_refused_without_decoding_them() -> None:
    data = encoded("PNG", "L", (3_000, 3_000))
    tracemalloc.start()
    with pytest.raises(NotAnImageError, match="pixels"):
        check_image(data, 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def interleaved_not(data: bytes) -> bytes:
    """The same JPEG, its header saying that the first scan has one component."""
    place = data.index(b"\xff\xda")
    return data[: place + 4] + b"\x01" + data[place + 5 :]


@pytest.mark.parametrize(
    ("data", "bytes_per_pixel"),
    [
        (encoded("JPEG"), 0.25),
        (encoded("JPEG", "L"), 0.25),
        (encoded("MPO"), 0.25),
        (encoded("JPEG", progressive=True), 6),
        (encoded("JPEG", "CMYK", progressive=True), 8),
        (interleaved_not(encoded("JPEG")), 6),
        (encoded("PNG"), 5),
        (encoded("WEBP"), 17),
        (encoded("WEBP", lossless=True), 17),
        (encoded("WEBP", "RGBA"), 17),
        (encoded("WEBP", exif=b"Exif\0\0"), 17),
    ],
)
def test_the_memory_for_decoding_follows_from_the_header(data: bytes, bytes_per_pixel: float) -> None:
    needed = int(40 * 30 * bytes_per_pixel)
    assert decoding_bytes(data, MANY, needed) == needed
    with pytest.raises(NotAnImageError, match="pixels"):
        decoding_bytes(data, MANY, needed - 20)
    with pytest.raises(NotAnImageError, match="pixels"):
        decoding_bytes(data, 40 * 30 - 1, needed)


@given(
    st.binary(max_size=300),
    st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8", encoded("JPEG")[:180]]
    ),
)
def test_garbage_has_a_size_or_is_refused(data: bytes, start: bytes) -> None:
    with contextlib.suppress(NotAnImageError):
        decoding_bytes(start + data, MANY, 10**9)
