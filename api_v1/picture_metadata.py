"""Removal of metadata from pictures, without decoding them: places, cameras, comments, and bytes behind the picture.

A file keeps the parts that decide how its picture looks, by a list for each format; all other parts go. Of EXIF the
orientation stays, or pictures of phones would lie on their side.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Final

from PIL import Image

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_PNG_KEPT: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs cICP mDCV cLLI acTL fcTL fdAT".split()
)
_WEBP_KEPT: Final = frozenset((b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"))
_WEBP_EXIF_FLAG: Final = 0x08
_WEBP_XMP_FLAG: Final = 0x04

# Segments APP0 to APP15 that are kept, by number and beginning: JFIF, the colour profile, Adobe's kind of colours.
_JPEG_APP_KEPT: Final = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_JPEG_APPS: Final = range(0xE0, 0xF0)
_JPEG_EXIF: Final = 0xE1
_JPEG_COMMENT: Final = 0xFE
_JPEG_START_OF_SCAN: Final = 0xDA
_JPEG_END: Final = 0xD9
_JPEG_NO_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
# The next marker behind the data of a scan, in which 0xFF is followed by 0 or the number of a restart.
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_EXIF_PREFIX: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_TURNED: Final = range(2, 9)
"""Orientations other than the ordinary one."""


def without_metadata(data: bytes) -> bytes:
    """The picture's file without metadata and without bytes behind its end; the same object when it has none.

    Args:
        data: a JPEG, PNG or WebP file.

    Raises:
        ValueError, IndexError: the file has no structure of such a file.
    """
    if data.startswith(b"\xff\xd8"):
        parts = _jpeg(data)
    elif data.startswith(PNG_SIGNATURE):
        parts = _png(data)
    else:
        parts = _webp(data)
    kept = b"".join(parts)
    return data if kept == data else kept


def _jpeg(data: bytes) -> Iterator[bytes]:
    view, place = memoryview(data), 2
    yield data[:2]
    while True:
        # A decoder skips bytes that do not belong to a segment.
        place = data.index(b"\xff", place)
        while data[place] == 0xFF:
            place += 1
        marker, place = data[place], place + 1
        if marker == _JPEG_END:
            yield bytes((0xFF, marker))
            return
        if marker in _JPEG_NO_LENGTH:
            yield bytes((0xFF, marker))
            continue
        end = place + int.from_bytes(data[place : place + 2], "big")
        if marker == _JPEG_START_OF_SCAN:
            following = _JPEG_MARKER.search(data, end)
            end = following.start() if following else len(data)
        yield from _jpeg_segment(marker, view[place:end])
        place = end
        if place == len(data):
            # Without an end, the file is complete or not: decoding decides.
            return


def _jpeg_segment(marker: int, body: memoryview) -> Iterator[bytes]:
    """A segment as it is kept.

    Args:
        marker: its number.
        body: length (two bytes), content, and the data of a scan.
    """
    content = bytes(body[2:40])
    if marker == _JPEG_EXIF and content.startswith(_EXIF_PREFIX):
        exif = _orientation_only(bytes(body[2:]))
        if exif:
            yield b"\xff\xe1" + (2 + len(exif)).to_bytes(2, "big") + exif
        return
    if marker == _JPEG_COMMENT:
        return
    if marker in _JPEG_APPS and not content.startswith(_JPEG_APP_KEPT.get(marker, b"nothing of this kind")):
        return
    yield bytes((0xFF, marker))
    yield bytes(body)


def _png(data: bytes) -> Iterator[bytes]:
    view, place, kind = memoryview(data), len(PNG_SIGNATURE), b""
    yield PNG_SIGNATURE
    while kind != b"IEND":
        kind = data[place + 4 : place + 8]
        if len(kind) < 4:
            raise ValueError("the file has no end")
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if kind in _PNG_KEPT:
            yield bytes(view[place:end])
        elif kind == b"eXIf":
            exif = _orientation_only(_EXIF_PREFIX + bytes(view[place + 8 : end - 4])).removeprefix(_EXIF_PREFIX)
            if exif:
                yield len(exif).to_bytes(4, "big") + kind + exif + zlib.crc32(kind + exif).to_bytes(4, "big")
        place = end


def _webp(data: bytes) -> Iterator[bytes]:
    view, place = memoryview(data), 12
    end_of_file = 8 + int.from_bytes(data[4:8], "little")
    if end_of_file > len(data):
        raise ValueError("the file is shorter than it says")
    kept: list[bytes] = []
    has_exif = False
    while place + 8 <= end_of_file:
        kind, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        if kind in _WEBP_KEPT:
            kept.append(bytes(view[place:end]))
        elif kind == b"EXIF":
            body = bytes(view[place + 8 : place + 8 + size])
            exif = _orientation_only(_EXIF_PREFIX + body.removeprefix(_EXIF_PREFIX)).removeprefix(_EXIF_PREFIX)
            if exif and not has_exif:
                has_exif = True
                kept.append(kind + len(exif).to_bytes(4, "little") + exif)
        place = end
    for number, chunk in enumerate(kept):
        if chunk.startswith(b"VP8X"):
            flags = chunk[8] & ~(_WEBP_XMP_FLAG | (0 if has_exif else _WEBP_EXIF_FLAG))
            kept[number] = chunk[:8] + bytes((flags,)) + chunk[9:]
    yield b"RIFF" + (4 + sum(map(len, kept))).to_bytes(4, "little") + b"WEBP"
    yield from kept


def _orientation_only(exif: bytes) -> bytes:
    """EXIF with the orientation alone, 32 bytes; nothing for an ordinary orientation, or none."""
    try:
        read = Image.Exif()
        read.load(exif)
        orientation = read.get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - hostile bytes: what cannot be read is not kept
        return b""
    if not isinstance(orientation, int) or orientation not in _TURNED:
        return b""
    # A TIFF of one directory with one entry: a short number.
    entry = _ORIENTATION.to_bytes(2, "big") + b"\0\3\0\0\0\1\0" + bytes((orientation,)) + b"\0\0"
    return _EXIF_PREFIX + b"MM\0*\0\0\0\x08\0\1" + entry + b"\0\0\0\0"
