"""Keys that Airflow's processes share, made at the first start: files in a volume that only their owner may read.

Airflow reads them by its variables `AIRFLOW__…_CMD`. A key in docker/.env takes the place of the kept one.
"""

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path

from gourmetgram.files import replace_file

FOLDER = "AIRFLOW_SECRETS_FOLDER"
"""Variable with the folder of the keys; without it, the keys are in Airflow's own variables."""

PUBLISHED = frozenset(
    {
        "Z291cm1ldGdyYW0gbGFiOiBub3QgYSBzZWNyZXQga2U=",
        "gourmetgram-lab-airflow-jwt-secret-which-everybody-knows-and-may-replace",
    }
)
"""Defaults of earlier versions, which stand in many an .env: they count as absent."""

_FORMER_FERNET_KEY = "Z291cm1ldGdyYW0gbGFiOiBub3QgYSBzZWNyZXQga2U="
"""Key of every database that an earlier version made without a key of its own."""


def make(folder: Path, variables: Mapping[str, str]) -> None:
    """Make the keys that are missing, and take over those of docker/.env.

    Args:
        folder: folder of the keys.
        variables: AIRFLOW_FERNET_KEY and AIRFLOW_JWT_SECRET, each absent, empty or a key.
    """
    _keep(folder / "api_secret_key", _read(folder / "api_secret_key") or secrets.token_urlsafe(48))
    jwt = _given(variables, "AIRFLOW_JWT_SECRET") or _read(folder / "jwt_secret") or secrets.token_urlsafe(48)
    _keep(folder / "jwt_secret", jwt)
    older = _read(folder / "fernet_key").split(",") if (folder / "fernet_key").exists() else [_FORMER_FERNET_KEY]
    kept = "" if older[0] in PUBLISHED else older[0]
    first = (
        _given(variables, "AIRFLOW_FERNET_KEY") or kept or base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    )
    # Airflow encrypts with the first key, and decrypts with any of the list.
    _keep(folder / "fernet_key", ",".join([first, *(key for key in older if key != first)]))


def rotation_is_due(folder: Path) -> bool:
    """Return whether values may still be encrypted with an older key."""
    return "," in _read(folder / "fernet_key")


def end_rotation(folder: Path) -> None:
    """Forget the older keys, after all values were encrypted with the newest."""
    _keep(folder / "fernet_key", _read(folder / "fernet_key").split(",")[0])


def texts(folder: Path) -> list[str]:
    """All keys, for the fingerprint of the set-up."""
    return [_read(path) for path in sorted(folder.iterdir()) if path.is_file()]


def _given(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name, "")
    return "" if value in PUBLISHED else value


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _keep(path: Path, text: str) -> None:
    # Without a line end: Airflow takes the whole output of its command.
    if _read(path) != text:
        replace_file(path, text, mode=0o600)
