"""Continuity of partitions: the record before a next offset is still the one that was read.

A broker that lost its newest records (a disk that lies, a volume from a backup) gives their offsets to new ones.
Offsets alone do not show that: once the log is longer than before, a reader would skip the new records. So each reader
keeps a fingerprint of the last record of every partition, and compares it before it reads on.
"""

import hashlib
from typing import Final

_HEX_DIGITS: Final = 32


def fingerprint(offset: int, broker_time_ms: int, key: bytes | None, value: bytes | None) -> str:
    """128 bits of SHA-256 over offset, broker time, key and value, as 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (str(offset).encode(), str(broker_time_ms).encode(), key or b"", value or b""):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:_HEX_DIGITS]
