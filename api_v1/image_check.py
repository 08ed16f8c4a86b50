"""Check of uploaded files: the memory for decoding, from the header; then the format, by decoding the whole file."""

import struct
import zlib
from io import BytesIO
from typing import Final, NamedTuple

from PIL import Image

from api_v1.errors import NotAnImageError
from api_v1.picture_metadata import without_metadata

# This module checks its own limit before decoding; Pillow's would print a warning to standard error.
Image.MAX_IMAGE_PIXELS = None

_DECODER_ERRORS: Final = (
    # Exceptions of Pillow's decoders on hostile bytes, collected from its own fuzz tests.
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


_NOT_AN_IMAGE: Final = "The file is not a JPEG, PNG or WebP image that can be decoded."

# Bytes of memory per pixel. A JPEG of one scan is decoded at an eighth of its size.
_WEBP_BYTES: Final = 17.0
_PNG_BYTES: Final = 5.0
_JPEG_BYTES: Final = 0.25

_SEQUENTIAL: Final = (0xC0, 0xC1)
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN: Final = 0xDA


class ImageKind(NamedTuple):
    """A format that the platform stores."""

    extension: str
    content_type: str


_KINDS: Final = {
    "JPEG": ImageKind("jpg", "image/jpeg"),
    "MPO": ImageKind("jpg", "image/jpeg"),  # a JPEG with more pictures behind the first, as phones write
    "PNG": ImageKind("png", "image/png"),
    "WEBP": ImageKind("webp", "image/webp"),
}


def decoding_bytes(data: bytes, max_pixels: int, max_bytes: int) -> int:
    """Bytes of memory that `check_image` will need. Decodes nothing; call it in a thread.

    Args:
        data: the file.
        max_pixels: most pixels (width x height) of any image.
        max_bytes: most memory of one image.

    Raises:
        NotAnImageError: the file has no such header, or the image is too large.
    """
    try:
        width, height, bytes_per_pixel = _header(data)
    except _DECODER_ERRORS:
        raise NotAnImageError(_NOT_AN_IMAGE) from None
    most = min(max_pixels, int(max_bytes / bytes_per_pixel))
    if width * height > most:
        raise NotAnImageError(f"The image has more than {most} pixels, the most for a file of its kind.")
    return int(width * height * bytes_per_pixel)


def _header(data: bytes) -> tuple[int, int, float]:
    """Width, height, and bytes of memory per pixel, as measured with Pillow 12 (docs/decisions/upload-budget.md)."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        # By hand: Pillow gives a WebP its two canvases as soon as it is opened.
        return (*_webp_size(data), _WEBP_BYTES)
    with Image.open(BytesIO(data), formats=("JPEG", "PNG")) as image:
        return (*image.size, _PNG_BYTES if image.format == "PNG" else _jpeg_bytes(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no WebP")


def _jpeg_bytes(data: bytes) -> float:
    """A JPEG of one scan is decoded as it is read; one of many scans keeps the coefficients of all its components."""
    components, place = 4, 2
    while True:
        while data[place] != 0xFF:
            place += 1
        while data[place] == 0xFF:
            place += 1
        marker, length = data[place], int.from_bytes(data[place + 1 : place + 3], "big")
        if marker in _FRAMES:
            components = data[place + 8]
            if marker not in _SEQUENTIAL:
                return 2.0 * components
        elif marker == _START_OF_SCAN:
            return _JPEG_BYTES if data[place + 3] == components else 2.0 * components
        place += 1 if 0xD0 <= marker <= 0xD8 or marker == 0x01 else 1 + length


def clean_image(data: bytes, max_pixels: int) -> tuple[bytes, ImageKind]:
    """Remove metadata from an image, then check it as it will be stored. Blocking and heavy: call it in a thread.

    Returns:
        the file to store, and its format.

    Raises:
        NotAnImageError: see `check_image`.
    """
    try:
        cleaned = without_metadata(data)
    except _DECODER_ERRORS:
        raise NotAnImageError(_NOT_AN_IMAGE) from None
    return cleaned, check_image(cleaned, max_pixels)


def check_image(data: bytes, max_pixels: int) -> ImageKind:
    """Decode an image and return its format. Blocking and heavy: call it in a thread.

    Args:
        data: the file.
        max_pixels: most pixels (width x height) that are decoded; bounds the memory used.

    Raises:
        NotAnImageError: the file does not decode as JPEG, PNG or WebP, or has too many pixels.
    """
    try:
        with Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise NotAnImageError(f"The image has more than {max_pixels} pixels.")
            # JPEG: the whole stream is read, but only an eighth of each side is computed.
            image.draft("L", (max(1, width // 8), max(1, height // 8)))
            image.load()
            return _KINDS[image.format or ""]
    except _DECODER_ERRORS:
        raise NotAnImageError(_NOT_AN_IMAGE) from None
