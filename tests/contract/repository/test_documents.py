"""What the documents mention exists: files, commands, make targets, settings, topics and tables."""

import importlib
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest
import typer.main

import api_v1
import api_v2
import data_generator
import gourmetgram
import risk_scoring_service
import setup_jobs
import stream_consumer
from gourmetgram.database.tables import metadata
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings, Settings
from gourmetgram.training.large_table import LargeTableSettings
from gourmetgram_tools.cli.demo_run import DemoSettings
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.local.settings import LocalSettings

DOCUMENTS = sorted(
    PROJECT_ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
)
_ADDRESS = "the compose file and the local stack set it, so that services find each other"
_CONTRACT = "a name that other services and the lab's text rely on"
LEFT_OUT = {
    **dict.fromkeys(
        (
            *(
                "DATABASE_URL",
                "KAFKA_BOOTSTRAP_SERVERS",
                "REDIS_HOST",
                "REDIS_PORT",
                "REDIS_DB",
                "S3_ENDPOINT_URL",
                "MODEL_SIGNING_KEYS_FILE",
            ),
            *("GENERATOR_API_URL", "GENERATOR_DATASET_PATH", "HEALTH_HOST", "HEALTH_PORT"),
            *(f"PYICEBERG_CATALOG__GOURMETGRAM__{name}" for name in ("TYPE", "URI", "WAREHOUSE", "S3__ENDPOINT")),
        ),
        _ADDRESS,
    ),
    **dict.fromkeys(
        (
            *(f"KAFKA_TOPIC_{kind}" for kind in ("UPLOADS", "VIEWS", "COMMENTS", "FLAGS")),
            *("KAFKA_TOPICS", "KAFKA_CONSUMER_GROUP", "MODERATION_TOPIC", "DEAD_LETTER_TOPIC", "S3_BUCKET_NAME"),
        ),
        _CONTRACT,
    ),
    **dict.fromkeys(
        (
            *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            *(f"PYICEBERG_CATALOG__GOURMETGRAM__S3__{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")),
        ),
        "made from MINIO_ROOT_USER and MINIO_ROOT_PASSWORD",
    ),
    "AWS_REGION": "MinIO has one region",
    "ENABLE_BENCH_ROUTE": "for benchmarks only, which set it",
}
"""Settings that are deliberately not in .env.example, with the reason."""
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def _code(document: Path) -> str:
    """All code of a document: blocks and inline."""
    return "\n".join(_CODE.findall(document.read_text()))


def _subcommands() -> dict[str, set[str]]:
    """Name of each subcommand, and the names of its own subcommands if it is a group."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    return {name: set(getattr(command, "commands", ())) for name, command in commands.items()}


def _identifier(document: Path) -> str:
    return str(document.relative_to(PROJECT_ROOT))


def _example_values() -> dict[str, str]:
    """Variables of .env.example, those in comments too."""
    example = (PROJECT_ROOT / "docker" / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", example, re.MULTILINE))


def _settings() -> dict[str, str]:
    """Every variable that a settings class of the services or the command reads, with the class."""
    packages = (gourmetgram, api_v1, api_v2, stream_consumer, risk_scoring_service, data_generator, setup_jobs)
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # Programs and Alembic's files are not imported; the latter run inside a command of Alembic's only.
            if not module.name.endswith("__main__") and ".migrations." not in module.name:
                importlib.import_module(module.name)
    found, classes = {}, [Settings]
    while classes:
        settings = classes.pop()
        classes += settings.__subclasses__()
        # Tests have classes of their own.
        if settings.__module__.startswith(tuple(package.__name__ for package in packages)):
            found.update({name.upper(): settings.__qualname__ for name in settings.model_fields})
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_links_lead_to_files(document: Path) -> None:
    targets = [target for target in _LINK.findall(document.read_text()) if "://" not in target]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_every_document_is_reached_from_the_readme_directly_or_through_an_index_page() -> None:
    reached: set[Path] = set()
    pages = [PROJECT_ROOT / "README.md"]
    while pages:
        page = pages.pop()
        found = {(page.parent / target).resolve() for target in _LINK.findall(page.read_text()) if "://" not in target}
        # An index page is the README of a folder.
        pages += [each for each in found - reached if each.name == "README.md"]
        reached |= found
    documents = {document for document in DOCUMENTS if document.is_relative_to(PROJECT_ROOT / "docs")}
    assert documents - reached == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_a_clone_is_of_an_address_that_the_reader_can_set(document: Path) -> None:
    for block in _CODE.findall(document.read_text()):
        for address in re.findall(r"git clone +(\S+)", block):
            variable = re.fullmatch(r'"\$([A-Z]+)"', address)
            assert variable, f"git clone {address}"
            assert re.search(rf"^{variable[1]}=https://\S+$", re.sub(r" +#.*", "", block), re.MULTILINE)


def test_line_ends_are_the_same_on_every_system() -> None:
    def attributes(name: str) -> dict[str, str]:
        lines = subprocess.check_output(["git", "check-attr", "-a", name], cwd=PROJECT_ROOT, text=True).splitlines()
        return dict(line.split(": ")[1:] for line in lines)

    for name in ("docker/redpanda-init.sh", ".ci/run", "docker/docker-compose.yaml", "README.md"):
        assert attributes(name) == {"text": "auto", "eol": "lf"}
    assert attributes("data_generator/sample/training/0_0.jpg")["binary"] == "set"


def test_what_the_documents_let_commands_write_is_ignored_by_git() -> None:
    for name in ("comparison.html", "docker/.env", "ground-truth.csv"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=PROJECT_ROOT, check=False).returncode == 0, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_commands_exist(document: Path) -> None:
    known = _subcommands()
    # Options of the command itself (--stack NAME) may stand before the subcommand.
    pattern = re.compile(r"\bgourmetgram(?: --stack \S+)? +([a-z][a-z-]*)(?: +([a-z][a-z-]*))?")
    for name, second in pattern.findall(_code(document)):
        assert name in known, f"gourmetgram {name}"
        if known[name] and second:
            assert second in known[name], f"gourmetgram {name} {second}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = set(re.findall(r"(?:^|[`\n])make ([a-z-]+)", _code(document)))
    assert mentioned <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_topics_exist(document: Path) -> None:
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


def test_every_setting_of_the_example_file_is_known() -> None:
    source = "\n".join(
        path.read_text()
        for folder in (
            *("gourmetgram", "api_v1", "api_v2", "stream_consumer", "risk_scoring_service", "data_generator"),
            "gourmetgram_tools/compose",
        )
        for path in (PROJECT_ROOT / folder).rglob("*.py")
    )
    # The images' and pages' variables are Compose's own.
    compose = (PROJECT_ROOT / "docker" / "docker-compose.yaml").read_text()
    for line in (PROJECT_ROOT / "docker" / ".env.example").read_text().splitlines():
        if line and not line.startswith("#"):
            name = line.split("=", 1)[0]
            known = re.search(rf"\b{name.lower()}\b", source) or name in source or f"${{{name}:-" in compose
            assert known, name


def test_every_setting_that_code_reads_is_in_the_example_file() -> None:
    known = _example_values().keys() | LEFT_OUT.keys()
    assert {name: settings for name, settings in _settings().items() if name not in known} == {}


def test_no_setting_is_both_in_the_example_file_and_left_out() -> None:
    assert set(LEFT_OUT) <= set(_settings())
    assert set(LEFT_OUT).isdisjoint(_example_values())


@pytest.mark.parametrize("settings", [LargeTableSettings, LocalSettings, DemoSettings])
def test_settings_of_the_shell_have_their_defaults_in_the_example_file(settings: type[Settings]) -> None:
    names = {name.upper() for name in settings.model_fields} - {"UI_BIND"}
    assert settings.load({name: _example_values()[name] for name in names}) == settings.load({})


def test_the_readme_names_every_service_and_table_page() -> None:
    readme = (PROJECT_ROOT / "README.md").read_text()
    for folder in ("api_v1", "api_v2", "data_generator", "stream_consumer", "risk_scoring_service"):
        assert f"{folder}/README.md" in readme
        assert (PROJECT_ROOT / folder / "README.md").exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_tables_that_statements_name_exist(document: Path) -> None:
    known = set(metadata.tables) | {"moderation_decisions"}
    named = set(re.findall(r"\bFROM ([a-z_]+)\b", _code(document)))
    assert named <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=_identifier)
def test_a_row_of_a_table_is_one_line(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    rows = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    assert [row for row in rows if not row.rstrip().endswith("|")] == []
