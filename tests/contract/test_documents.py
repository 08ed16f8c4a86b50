"""What the documents mention exists: files, commands, make targets, settings, topics and tables."""

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from gourmetgram.cli.main import app
from gourmetgram.database.tables import metadata
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings

DOCUMENTS = sorted(
    PROJECT_ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def _code(document: Path) -> str:
    """All code of a document: blocks and inline."""
    return "\n".join(_CODE.findall(document.read_text()))


def _subcommands() -> dict[str, set[str]]:
    """Name of each subcommand, and the names of its own subcommands if it is a group."""
    commands = typer.main.get_command(app).commands
    return {name: set(getattr(command, "commands", ())) for name, command in commands.items()}


def _identifier(document: Path) -> str:
    return str(document.relative_to(PROJECT_ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_links_lead_to_files(document: Path):
    targets = [target for target in _LINK.findall(document.read_text()) if "://" not in target]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_commands_exist(document: Path):
    known = _subcommands()
    # Options of the command itself (--stack NAME) may stand before the subcommand.
    pattern = re.compile(r"\bgourmetgram(?: --stack \S+)? +([a-z][a-z-]*)(?: +([a-z][a-z-]*))?")
    for name, second in pattern.findall(_code(document)):
        assert name in known, f"gourmetgram {name}"
        if known[name] and second:
            assert second in known[name], f"gourmetgram {name} {second}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_make_targets_exist(document: Path):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = set(re.findall(r"(?:^|[`\n])make ([a-z-]+)", _code(document)))
    assert mentioned <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_topics_exist(document: Path):
    topics = set(KafkaSettings().all_topics)
    prefix = re.compile(r"`(gourmetgram\.[a-z_]+)`")
    packages = {f"gourmetgram.{path.stem}" for path in (PROJECT_ROOT / "gourmetgram").iterdir()}
    # Keys of Iceberg snapshot summaries share the prefix (contract of the tables).
    summaries = {
        "gourmetgram.offsets",
        "gourmetgram.run_id",
        "gourmetgram.complete_through",
        "gourmetgram.extracted_at",
        "gourmetgram.events_snapshot_id",
        "gourmetgram.rows_kept",
        "gourmetgram.rows_dropped",
    }
    source = "\n".join(path.read_text() for path in (PROJECT_ROOT / "gourmetgram").rglob("*.py"))
    unknown = {name for name in prefix.findall(document.read_text()) if name not in topics | packages | summaries}
    assert {name for name in unknown if name not in source} == set()


def test_every_setting_of_the_example_file_is_known():
    source = "\n".join(
        path.read_text()
        for folder in ("gourmetgram", "api_v1", "api_v2", "stream_consumer", "risk_scoring_service", "data_generator")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
    )
    # The images' and pages' variables are Compose's own.
    compose = (PROJECT_ROOT / "docker" / "docker-compose.yaml").read_text()
    for line in (PROJECT_ROOT / "docker" / ".env.example").read_text().splitlines():
        if line and not line.startswith("#"):
            name = line.split("=", 1)[0]
            known = re.search(rf"\b{name.lower()}\b", source) or name in source or f"${{{name}:-" in compose
            assert known, name


def test_the_readme_names_every_service_and_table_page():
    readme = (PROJECT_ROOT / "README.md").read_text()
    for folder in ("api_v1", "api_v2", "data_generator", "stream_consumer", "risk_scoring_service"):
        assert f"{folder}/README.md" in readme
        assert (PROJECT_ROOT / folder / "README.md").exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_tables_that_statements_name_exist(document: Path):
    known = set(metadata.tables) | {"moderation_decisions"}
    named = set(re.findall(r"\bFROM ([a-z_]+)\b", _code(document)))
    assert named <= known
