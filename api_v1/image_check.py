"""Whether a file is an image, found out by decoding all of it."""

import struct
import zlib
from io import BytesIO
from typing import Final, NamedTuple

from PIL import Image

from api_v1.errors import NotAnImageError

# Our own bound is checked before anything is decoded; Pillow's would warn on standard error instead.
Image.MAX_IMAGE_PIXELS = None

_DECODER_ERRORS: Final = (
    # What Pillow's decoders raise on hostile bytes, collected from its own fuzz tests.
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


def check_image(data: bytes, max_pixels: int) -> ImageKind:
    """Decode an image and tell its format. Blocking and heavy: call it in a thread.

    Args:
        data: the file.
        max_pixels: most pixels (width x height) that are decoded; bounds the memory used.

    Raises:
        NotAnImageError: it does not decode as JPEG, PNG or WebP, or has too many pixels.
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
        raise NotAnImageError("The file is not a JPEG, PNG or WebP image that can be decoded.") from None
