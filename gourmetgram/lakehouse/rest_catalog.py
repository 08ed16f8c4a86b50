"""A catalog of Iceberg's REST servers, with time-outs and the authorities of the settings."""

import ssl
from typing import Any, Final

from pydantic import ValidationError
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter

from gourmetgram.errors import PermanentError
from gourmetgram.settings import IcebergSettings

_CONNECT_S: Final = 5
_ANSWER_S: Final = 60
"""Longest silence of the server. A commit waits for the object store, so it may take a while."""


def rest_properties(settings: IcebergSettings) -> dict[str, str]:
    """Properties of the login: a token, or a login that the server exchanges for one; empty without either."""
    credential = settings.pyiceberg_catalog__gourmetgram__credential
    if not credential:
        token = settings.pyiceberg_catalog__gourmetgram__token
        # PyIceberg warns about a token without an address to exchange it at, which it never does.
        return {"token": token, "oauth2-server-uri": settings.uri} if token else {}
    exchange = settings.pyiceberg_catalog__gourmetgram__oauth2_server_uri
    return {
        "credential": credential,
        "oauth2-server-uri": exchange or f"{settings.uri.rstrip('/')}/v1/oauth/tokens",
        "scope": settings.pyiceberg_catalog__gourmetgram__scope,
    }


def open_rest_catalog(name: str, authority: str, properties: dict[str, str]) -> Catalog:
    """Ask the server for its configuration, and log in.

    Args:
        name: name of the catalog.
        authority: PEM file of the authorities to trust; empty = those of the operating system.
        properties: PyIceberg's properties.

    Raises:
        PermanentError: the address answers, but not as an Iceberg REST catalog does.
    """
    try:
        return _RestCatalog(name, authority, properties)
    except ValidationError as error:
        address = properties["uri"]
        raise PermanentError(f"the server at {address} does not answer like an Iceberg REST catalog") from error


class _RestCatalog(RestCatalog):
    """PyIceberg's catalog; it would wait for ever for a server that is silent."""

    def __init__(self, name: str, authority: str, properties: dict[str, str]) -> None:
        self._authority = authority or _system_authorities()
        super().__init__(name, **properties)

    def _config_headers(self, session: Session) -> None:
        # The first step of each new session, before the login.
        super()._config_headers(session)
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Adapter(self._authority))


class _Adapter(HTTPAdapter):
    """Requests with a time-out, and with one place of authorities, whatever the environment says."""

    def __init__(self, authority: str | bool) -> None:
        super().__init__()
        self._authority = authority

    def send(self, request: PreparedRequest, *_args: Any, **options: Any) -> Response:  # noqa: ANN401 - as in requests
        own = {"timeout": (_CONNECT_S, _ANSWER_S), "verify": self._authority}
        return super().send(request, **{**options, **own})


def _system_authorities() -> str | bool:
    """File or folder of the operating system's authorities; True = those of the library."""
    places = ssl.get_default_verify_paths()
    return places.cafile or places.capath or True
