"""Adaptation of the repository's Markdown to the site: links, drawings, excerpts, lists of pages."""

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Final

from sphinx.application import Sphinx

INDEX_PAGES: Final = ("docs/decisions/README", "docs/reference/README")
"""Pages of folders whose other pages stand below them in the site's navigation."""

ARCHITECTURE: Final = "images/architecture.svg"
"""Picture in place of the README's Mermaid source, which a browser cannot draw without a further script."""

_ALTERNATIVE: Final = "Services and stores of the platform, and the data between them"
_LINK: Final = re.compile(r"\[([^\]\[]+)\]\(([^)#\s:]+)\)")
_MERMAID: Final = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXCERPT: Final = re.compile(r"^```\{literalinclude\}[^\n]*\n(?::[^\n]*\n)*```$", re.MULTILINE)
_OPTION: Final = re.compile(r"^(:[a-z-]+:) +(.+)$", re.MULTILINE)
_TOCTREE: Final = "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """Change the text of a Markdown page before it is parsed (Sphinx's event `source-read`)."""
    if Path(app.env.doc2path(name)).suffix != ".md":
        return
    root = Path(app.srcdir)
    text = with_links_to_pages(source[0], root / posixpath.dirname(name))
    text = with_literal_options(with_picture(text, root, posixpath.dirname(name)))
    source[0] = text + (_TOCTREE if name in INDEX_PAGES else "")


def with_links_to_pages(text: str, folder: Path) -> str:
    """Let each link lead to a page of the site, or to a file.

    A link to a folder leads to its README; without one, its text remains. A link to a notebook of the lab leads to its
    source, which is a page.

    Args:
        text: Markdown of a page.
        folder: the page's own folder.
    """

    def link(match: re.Match[str]) -> str:
        label, target = match.groups()
        source = posixpath.join(posixpath.dirname(target), "source", f"{PurePosixPath(target).stem}.md")
        if target.endswith(".ipynb") and (folder / source).exists():
            return f"[{label}]({source})"
        if not (folder / target).is_dir():
            return match[0]
        readme = posixpath.join(target, "README.md")
        return f"[{label}]({readme})" if (folder / readme).exists() else label

    return _LINK.sub(link, text)


def with_picture(text: str, root: Path, folder: str) -> str:
    """Replace Mermaid sources by the picture of the architecture, or show them as text until it exists.

    Args:
        text: Markdown of a page.
        root: the repository's root.
        folder: the page's folder below the root, with `/`.
    """
    if not (root / ARCHITECTURE).exists():
        return _MERMAID.sub(r"```text\n\1```", text)
    address = posixpath.relpath(ARCHITECTURE, folder or ".")
    return _MERMAID.sub(f"![{_ALTERNATIVE}]({address})", text)


def with_literal_options(text: str) -> str:
    """Quote the options of excerpts: a marker is the rest of its line, and never YAML."""

    def quoted(option: re.Match[str]) -> str:
        value = option[2].replace("'", "''")
        return f"{option[1]} '{value}'"

    return _EXCERPT.sub(lambda excerpt: _OPTION.sub(quoted, excerpt[0]), text)
