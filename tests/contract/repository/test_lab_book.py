"""The lab book: notebooks are as their sources say, and the rehearsal walks every command of them."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from chameleon import build
from gourmetgram.settings import PROJECT_ROOT
from tests.lab.book import Notebook, Typed, notebook, page
from tests.lab.run import STAGES

_ON_NODE_DATA = ("2_application", "3_endpoints", "4_realtime", "5_iceberg", "6_training")
_SOURCES = build.notebook_sources()


@pytest.mark.parametrize("source", _SOURCES, ids=lambda source: source.stem)
def test_notebooks_are_made_from_their_sources(source: Path) -> None:
    assert build.target(source).read_text(encoding="utf-8") == build.build(source), "run `make lab`"


def test_there_is_a_notebook_for_each_stage() -> None:
    names = [path.stem for path in sorted((PROJECT_ROOT / "chameleon").glob("*.ipynb"))]
    assert names == [source.stem for source in _SOURCES]
    assert [name[0] for name in names] == list("01234567")


@pytest.mark.parametrize("name", _ON_NODE_DATA)
def test_the_rehearsal_runs_each_command_of_a_notebook(name: str) -> None:
    walked = {command for stage in STAGES for step in stage.steps for command in step.typed}
    commands = notebook(name).commands
    assert commands
    assert [command.text for command in commands if command not in walked] == []


def test_the_rehearsal_runs_each_command_of_the_extended_lab() -> None:
    walked = {command for stage in STAGES for step in stage.steps for command in step.typed}
    commands = page("extended").commands
    assert len(commands) > 20
    assert [command.text for command in commands if command not in walked] == []


@pytest.mark.parametrize("source", _SOURCES, ids=lambda source: source.stem)
def test_a_notebook_is_valid_and_needs_no_extension_to_be_read(source: Path) -> None:
    nbformat.validate(json.loads(build.build(source)))
    assert re.findall(r"^(?::::|```\{).*", build.build(source).replace("\\n", "\n"), re.MULTILINE) == []


def test_a_stale_marker_is_named(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("first\n    second\n    third\n")
    assert build.excerpt(file, {"start-at": "second"}) == "second\nthird"
    assert build.excerpt(file, {"start-after": "second", "end-at": "third"}) == "third"
    with pytest.raises(build.StaleExcerptError, match="no line with 'fourth'"):
        build.excerpt(file, {"start-at": "fourth"})
    with pytest.raises(build.StaleExcerptError, match="no file"):
        build.excerpt(tmp_path / "other.py", {})


def test_admonitions_become_quotations_and_links_lead_from_the_notebook() -> None:
    line = "See [x](../../docs/y.md), [two](2_application.md), [d](differences.md#a)."
    text = f":::{{admonition}} Try it\nA line.\n\n{line}\n:::"
    links = "[x](../docs/y.md), [two](2_application.ipynb), [d](source/differences.md#a)"
    assert build.plain(text, build.SOURCES) == f"> **Try it**\n>\n> A line.\n>\n> See {links}."


def test_commands_are_read_from_the_cells_as_they_are_typed() -> None:
    command = Typed("docker compose -f /home/cc/data-platform-chi/docker/docker-compose.yaml run -e A=1 -e B=2 jobs")
    assert command.compose == "run -e A=1 -e B=2 jobs"
    assert command.variables == {"A": "1", "B": "2"}
    assert Typed("docker compose up -d").compose == "up -d"
    assert Typed("docker logs -f generator").here == "docker logs generator"
    assert Notebook("x", (command,), ("SELECT 1 FROM moderation",)).query("moderation") == "SELECT 1 FROM moderation"
