"""Memory that the process gives back to the system."""

import contextlib
import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
"""Parameter of glibc's mallopt(3)."""
_LARGE_BYTES: Final = 1024 * 1024


def return_large_blocks() -> None:
    """Return each block of a megabyte or more to the system as soon as it is freed.

    By default glibc raises this limit to 32 MB with use, and each thread then keeps the blocks of its images. Other C
    libraries have no such call and do not need it.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
