"""Authenticity of a model: a signature in metadata.json, made with a key that is not in the bucket.

The signature is an HMAC-SHA256 (RFC 2104) over the address of the object and its content, without the signature
itself. The content has the digest of each artifact. So the signature covers artifacts, version, folder and time, and is
not valid at another address (docs/decisions/model-signature.md).
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gourmetgram.errors import PermanentError
from gourmetgram.models.errors import ArtifactError

SIGNATURE: Final = "signature"
"""Key of the signature in metadata.json."""
ALGORITHM: Final = "HMAC-SHA256"

_PURPOSE: Final = b"gourmetgram model metadata 1"


def newest_key(keys: Sequence[bytes]) -> bytes:
    """The key that signs.

    Raises:
        PermanentError: there is none.
    """
    if not keys:
        raise PermanentError(f"The model cannot be signed: {_NO_KEY}.")
    return keys[0]


def signed(document: Mapping[str, Any], address: str, keys: Sequence[bytes]) -> dict[str, Any]:
    """The document with its signature; an older signature in it is replaced.

    Args:
        document: content of a metadata.json.
        address: address of the object, `s3://bucket/key`.
        keys: the first one signs.

    Raises:
        PermanentError: there is no key.
    """
    key = newest_key(keys)
    signature = {"algorithm": ALGORITHM, "key": _name_of(key), "value": _value(document, address, key)}
    return {**document, SIGNATURE: signature}


def verify(document: Mapping[str, Any], address: str, keys: Sequence[bytes]) -> None:
    """Check that the document was signed for this address, with any of the keys.

    Raises:
        ArtifactError: it was not; the text gives the reason and the remedy.
    """
    if not keys:
        raise ArtifactError(f"{address} cannot be verified: {_NO_KEY}")
    signature = document.get(SIGNATURE)
    value = signature.get("value") if isinstance(signature, dict) else None
    if not isinstance(signature, dict) or not isinstance(value, str):
        raise ArtifactError(f"{address} has no signature. {_remedy(document)}")
    # All keys are tried in full: the time tells nothing about a key.
    fits = [hmac.compare_digest(_value(document, address, key).encode(), value.encode()) for key in keys]
    if any(fits):
        return
    if signature.get("key") in {_name_of(key) for key in keys}:
        raise ArtifactError(f"{address} was changed after it was signed, or was signed for another place")
    raise ArtifactError(f"{address} is signed with a key that is not known here. {_remedy(document)}")


_NO_KEY: Final = (
    "no signing key is set. `gourmetgram up` makes one for a local stack, the job `model-keys` one for the Compose "
    "lab; MODEL_SIGNING_KEYS_FILE names its file"
)


def _remedy(document: Mapping[str, Any]) -> str:
    version = document.get("version")
    number = str(version) if isinstance(version, int) else "VERSION"
    return (
        "Publish the model again or, if you are sure of its origin, sign it with "
        f"`gourmetgram models sign {number}` and serve it with `gourmetgram models activate {number}`"
    )


def _value(document: Mapping[str, Any], address: str, key: bytes) -> str:
    content = {name: value for name, value in document.items() if name != SIGNATURE}
    # One text for equal contents, whatever the order and indentation of the file.
    text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hmac.new(key, b"\0".join((_PURPOSE, address.encode(), text)), hashlib.sha256).hexdigest()


def _name_of(key: bytes) -> str:
    """Name of a key in signatures, which tells nothing about a key of this length."""
    return hashlib.sha256(_PURPOSE + key).hexdigest()[:8]
