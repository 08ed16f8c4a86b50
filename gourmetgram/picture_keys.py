"""Names of pictures in the images' bucket: `<image id>.<extension>`."""

import re
from typing import Final
from uuid import UUID

EXTENSIONS: Final = ("jpg", "png", "webp")

_KEY: Final = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\.(?:{'|'.join(EXTENSIONS)})")


def image_id_of(key: str) -> UUID | None:
    """Image id of an uploaded picture; None for an object with any other name."""
    found = _KEY.fullmatch(key)
    return UUID(found[1]) if found else None
