"""Generated parts of pages: a page of the reference says in a comment where such a part belongs."""

from collections.abc import Callable
from typing import Final

from sphinx.application import Sphinx

from site_pages import command_line, http_api

GENERATED: Final[dict[str, Callable[[], str]]] = {
    "<!-- here: the HTTP API -->": lambda: http_api.page(http_api.description()),
    "<!-- here: the command line -->": command_line.page,
}


def insert(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Replace each comment of `GENERATED` by its part (Sphinx's event `source-read`)."""
    for comment, part in GENERATED.items():
        if comment in source[0]:
            source[0] = source[0].replace(comment, part())
