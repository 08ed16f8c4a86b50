"""The site: it is built without a warning, every document is in it, and no page asks another host."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from gourmetgram.settings import PROJECT_ROOT
from tests.support.sources import tracked_files

LAB: Final = (
    "0_intro",
    "1_create_server",
    "2_application",
    "3_endpoints",
    "4_realtime",
    "5_iceberg",
    "6_training",
    "7_delete",
    "extended",
    "mlflow",
    "differences",
)
"""Pages of the lab, in their order."""

BUILD_S: Final = 240
"""A build takes half a minute on a free core."""

_LOADING: Final = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
"""Attribute with the address that a browser fetches for an element; a link (`a`) is followed by a click only."""

_STYLE_ADDRESS: Final = re.compile(r"""(?:@import\s+|url\()\s*["']?([^"')\s]+)""")
_FOREIGN: Final = re.compile(r"^(?:[a-z]+:)?//", re.IGNORECASE)
_TOCTREE: Final = re.compile(r"```\{toctree\}\n(.*?)```", re.DOTALL)


class Fetched(HTMLParser):
    """Addresses that a browser fetches by itself to show a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        # Names of pages in relation to this one (the next, the search) are not fetched.
        if tag != "link" or {"stylesheet", "icon", "preload"} & set((values.get("rel") or "").split()):
            self.addresses += [values.get(_LOADING.get(tag, "")) or "", *self._of_styles(values.get("style"))]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.addresses += self._of_styles(data)

    @staticmethod
    def _of_styles(text: str | None) -> list[str]:
        return _STYLE_ADDRESS.findall(text or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Warnings end the build."""
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet"),
            *("-c", "docs", "-d", str(folder / "doctrees"), ".", str(folder / "html")),
        ],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return folder / "html"


def foreign(addresses: list[str]) -> list[str]:
    return [address for address in addresses if _FOREIGN.match(address)]


def listed(index: Path) -> Iterator[Path]:
    """Pages in the lists of the landing page, without suffix, relative to the repository's root."""
    for block in _TOCTREE.findall(index.read_text()):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                name = re.sub(r".*<(.*)>", r"\1", line)
                yield (index.parent / name).resolve().relative_to(PROJECT_ROOT)


@pytest.mark.timeout(BUILD_S + 60)
def test_every_page_of_the_documents_is_built(site: Path) -> None:
    pages = [path for path in tracked_files("docs/*.md", "README.md", "CONTRIBUTING.md") if path.suffix == ".md"]
    assert [str(page) for page in pages if not (site / page).with_suffix(".html").exists()] == []


def test_every_document_is_in_a_list_of_the_landing_page() -> None:
    found = set(listed(PROJECT_ROOT / "docs" / "index.md"))
    # Pages below these folders are listed by the folder's README.
    folders = {path.parent for path in found if path.name == "README"}
    pages = {path.with_suffix("") for path in tracked_files("docs/*.md")} - {Path("docs/index")}
    assert {page for page in pages - found if page.parent not in folders} == set()


def test_the_lab_is_listed_in_the_order_of_its_stages() -> None:
    found = [
        path.name for path in listed(PROJECT_ROOT / "docs" / "index.md") if path.parts[:2] == ("chameleon", "source")
    ]
    assert found == list(LAB)


@pytest.mark.timeout(BUILD_S + 60)
@pytest.mark.parametrize("name", LAB)
def test_a_page_of_the_lab_is_built(site: Path, name: str) -> None:
    assert (site / "chameleon" / "source" / f"{name}.html").exists()


@pytest.mark.timeout(BUILD_S + 60)
def test_no_page_asks_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    found = {str(page.relative_to(site)): foreign(Fetched(page.read_text()).addresses) for page in pages}
    assert {page: addresses for page, addresses in found.items() if addresses} == {}


@pytest.mark.timeout(BUILD_S + 60)
def test_no_style_asks_another_host(site: Path) -> None:
    styles = sorted(site.rglob("*.css"))
    assert styles
    found = {style.name: foreign(_STYLE_ADDRESS.findall(style.read_text())) for style in styles}
    assert {style: addresses for style, addresses in found.items() if addresses} == {}


@pytest.mark.timeout(BUILD_S + 60)
def test_the_reference_is_made_from_the_code(site: Path) -> None:
    reference = site / "docs" / "reference"
    assert "/images/{image_id}/view" in (reference / "http-api.html").read_text()
    assert "--pause-traffic" in (reference / "command-line.html").read_text()
    assert "gourmetgram.features.definition.feature_vector" in (reference / "features.html").read_text()


@pytest.mark.timeout(BUILD_S + 60)
def test_no_page_tells_the_place_of_the_checkout(site: Path) -> None:
    found = [page.name for page in site.rglob("*.html") if str(PROJECT_ROOT) in page.read_text()]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<script src="https://example.org/a.js"></script>', ["https://example.org/a.js"]),
        ('<link rel="stylesheet" href="//example.org/a.css">', ["//example.org/a.css"]),
        ("<style>@import 'https://example.org/a.css';</style>", ["https://example.org/a.css"]),
        ('<p style="background: url(https://example.org/a.png)"></p>', ["https://example.org/a.png"]),
        ('<img src="../images/a.svg">', []),
        ('<a href="https://example.org">a link</a>', []),
        ('<link rel="next" href="https://example.org">', []),
    ],
)
def test_a_foreign_address_is_found(text: str, expected: list[str]) -> None:
    assert foreign(Fetched(text).addresses) == expected
