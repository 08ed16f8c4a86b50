"""Parts of the site: what becomes of links, excerpts, docstrings and descriptions."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gourmetgram.settings import PROJECT_ROOT


@pytest.fixture
def markdown(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "docs")
    return import_module("site_pages.markdown")


@pytest.fixture
def docstrings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "docs")
    return import_module("site_pages.docstrings")


@pytest.fixture
def http_api(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "docs")
    return import_module("site_pages.http_api")


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "docs")
    return import_module("site_pages.command_line")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files and folders to which a page may link."""
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "README.md").touch()
    (tmp_path / "without").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "0_intro.md").touch()
    (tmp_path / "file.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](with/)", "[a](with/README.md)"),
        ("[a](without/)", "a"),
        ("[a](0_intro.ipynb)", "[a](source/0_intro.md)"),
        ("[a](other.ipynb)", "[a](other.ipynb)"),
        ("[a](file.py)", "[a](file.py)"),
        ("[a](https://example.org/with/)", "[a](https://example.org/with/)"),
    ],
)
def test_a_link_leads_to_a_page_or_a_file(markdown: ModuleType, folder: Path, link: str, expected: str) -> None:
    assert markdown.with_links_to_pages(f"See {link}.", folder) == f"See {expected}."


def test_a_marker_of_an_excerpt_is_no_yaml(markdown: ModuleType) -> None:
    text = '```{literalinclude} a.py\n:start-at: it\'s "v1": (\n:dedent:\n```\n'
    expected = "```{literalinclude} a.py\n:start-at: 'it''s \"v1\": ('\n:dedent:\n```\n"
    assert markdown.with_literal_options(text) == expected


def test_other_blocks_keep_their_options(markdown: ModuleType) -> None:
    text = "```{code-cell} python\n:tags: [hide]\n```\n"
    assert markdown.with_literal_options(text) == text


def test_mermaid_is_text_until_the_picture_exists(markdown: ModuleType, tmp_path: Path) -> None:
    text = "```mermaid\nflowchart LR\n```\n"
    assert markdown.with_picture(text, tmp_path, "") == "```text\nflowchart LR\n```\n"
    (tmp_path / "images").mkdir()
    (tmp_path / markdown.ARCHITECTURE).touch()
    assert markdown.with_picture(text, tmp_path, "").endswith("](images/architecture.svg)\n")
    assert markdown.with_picture(text, tmp_path, "docs").endswith("](../images/architecture.svg)\n")


def test_code_in_a_docstring_is_literal_over_two_lines(docstrings: ModuleType) -> None:
    assert docstrings.with_literals("`a` and `b\nc`, ``d``") == "``a`` and ``b\nc``, ``d``"


def test_words_before_a_colon_are_no_type(docstrings: ModuleType) -> None:
    assert docstrings.without_type(["one a row.", "", ":type: Features"]) == ["Features: one a row.", ""]
    assert docstrings.without_type(["Plain words."]) == ["Plain words."]


def _document() -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Outer"}
    route = {"summary": "Look", "responses": {"200": {"description": "Successful Response", "content": {}}}}
    route["responses"]["200"]["content"] = {"application/json": {"schema": reference}}  # type: ignore[index]
    schemas = {
        "Outer": {"properties": {"inner": {"$ref": "#/components/schemas/Inner"}}},
        "Inner": {"properties": {"count": {"type": "integer", "minimum": 0.0}}},
    }
    return {"paths": {"/look": {"get": route}}, "components": {"schemas": schemas}}


def test_a_route_is_described_with_the_fields_of_its_answer(http_api: ModuleType) -> None:
    page = http_api.page(_document())
    assert "| `GET /look` | Look | 200 |" in page
    assert "| 200 OK | `Outer` |" in page
    assert "| `inner.count` | integer | at least 0 |" in page


def test_every_route_of_the_application_has_a_section(http_api: ModuleType) -> None:
    document = http_api.description()
    page = http_api.page(document)
    assert [path for path in document["paths"] if f" {path}\n" not in page] == []


def test_every_command_has_a_purpose_and_a_section(command_line: ModuleType) -> None:
    page = command_line.page()
    for name in ("up", "dags trigger", "models rollback"):
        assert f"| `gourmetgram {name}` | " in page
        assert f"## `gourmetgram {name}`" in page
    assert "…" not in page.split("## ")[0]
