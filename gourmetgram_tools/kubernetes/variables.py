"""Variables of a container: settings come from a ConfigMap, passwords and keys from a Secret."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gourmetgram_tools.compose.file import VARIABLE

SETTINGS: Final = "gourmetgram-settings"
"""ConfigMap with every setting; overlays merge their own values into it."""
PASSWORDS: Final = "gourmetgram-passwords"
"""Secret with every password."""

_SECRET: Final = re.compile(r"(PASSWORD|SECRET|KEYS?|TOKEN)$")
"""End of the name of a secret. A variable that looks like one never gets into a manifest."""

_ADDRESSES: Final = {
    "@postgres:5432/": "@${POSTGRES_ADDRESS:-postgres:5432}/",
    "redpanda:9092": "${KAFKA_BOOTSTRAP_SERVERS:-redpanda:9092}",
    "http://minio:9000": "${S3_ENDPOINT_URL:-http://minio:9000}",
}
"""Addresses of servers, which become settings: managed servers have others."""
_ADDRESS_VARIABLES: Final = frozenset({"REDIS_HOST", "REDIS_PORT", "REDIS_DB", "S3_BUCKET_NAME"})
"""Variables with one value for all services, which become settings for the same reason."""


def is_secret(variable: str) -> bool:
    """True for a password, a key or a token."""
    return _SECRET.search(variable) is not None


class Variables:
    """Translates the variables of containers, and remembers which settings and secrets they need.

    Args:
        values: values of docker/.env, which take the place of the compose file's defaults.

    Attributes:
        settings: setting by name, for the ConfigMap.
        secrets: names of secrets; True where a value is needed.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.settings: dict[str, str] = {}
        self.secrets: dict[str, bool] = {}

    def of(self, environment: Mapping[str, object]) -> list[dict[str, Any]]:
        """Entries of `env`: a value from one source, or a text with `$(NAME)` after the entries that it names."""
        entries: dict[str, dict[str, Any]] = {}
        for name, value in environment.items():
            text = _with_addresses(name, str(value))
            whole = VARIABLE.fullmatch(text)
            if whole:
                entries[name] = {"name": name, "valueFrom": self._source(*whole.groups(""))}
                continue
            for match in VARIABLE.finditer(text):
                entries.setdefault(match[1], {"name": match[1], "valueFrom": self._source(*match.groups(""))})
            entries[name] = {"name": name, "value": VARIABLE.sub(r"$(\1)", text).replace("$$", "$")}
        return list(entries.values())

    def _source(self, variable: str, default: str) -> dict[str, Any]:
        if is_secret(variable):
            # Without a default, the service does without it.
            self.secrets[variable] = self.secrets.get(variable, False) or bool(default)
            return {"secretKeyRef": {"name": PASSWORDS, "key": variable, **({} if default else {"optional": True})}}
        self.settings[variable] = self._values.get(variable) or default
        return {"configMapKeyRef": {"name": SETTINGS, "key": variable}}

    def image(self, text: str) -> str:
        """Name of an image, with docker/.env's values."""
        return VARIABLE.sub(lambda match: self._values.get(match[1]) or match[2] or "", text)


def for_shell(words: list[str]) -> list[str]:
    """Command of a probe; variables are filled in by a shell, since Kubernetes does not do it there."""
    if not any(VARIABLE.search(word) for word in words):
        return [word.replace("$$", "$") for word in words]
    return ["sh", "-c", " ".join(_quoted(words))]


def _quoted(words: list[str]) -> Iterator[str]:
    for word in words:
        yield VARIABLE.sub(r'"$\1"', word)


def _with_addresses(name: str, text: str) -> str:
    if name in _ADDRESS_VARIABLES:
        return f"${{{name}:-{text}}}"
    for address, variable in _ADDRESSES.items():
        text = text.replace(address, variable)
    return text
