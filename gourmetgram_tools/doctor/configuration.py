"""Checks of the lab's .env and of the settings of other publishers' pages."""

import re
import stat
from pathlib import Path
from typing import Final

import yaml

from gourmetgram.database.roles import RoleSettings
from gourmetgram_tools.compose.file import document_of
from gourmetgram_tools.compose.passwords import PASSWORDS, is_published
from gourmetgram_tools.compose.programs import PROGRAMS, faults_of_nimtable
from gourmetgram_tools.compose.settings import ComposeSettings, variables_of
from gourmetgram_tools.doctor.findings import Finding, ok, problem, warning

_IN_ADDRESSES: Final = ("postgres_user", "postgres_password", "nimtable_db_password", *RoleSettings.model_fields)
"""Settings that become parts of URLs."""
_PAGES: Final = "Pages of others"
_UNDO: Final = "Undo local changes in the folder docker, for example with `git checkout docker`."
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def check_env_file(docker_folder: Path, lab: ComposeSettings) -> list[Finding]:
    """Check that the .env exists, has only known names, and that its passwords fit into addresses."""
    file, example = docker_folder / ".env", docker_folder / ".env.example"
    if not file.exists():
        return [
            warning(
                ".env",
                "There is no docker/.env: the lab's published passwords are used, and pages are open to all.",
                "Copy it with `cp docker/.env.example docker/.env`; `gourmetgram generate-passwords` makes one, too.",
            )
        ]
    findings = [_special_characters(lab), _unknown_names(file, example), _readable_by_others(file, lab)]
    return [finding for finding in findings if finding] or [ok(".env", "docker/.env has only known variables.")]


def _special_characters(lab: ComposeSettings) -> Finding | None:
    wrong = [name.upper() for name in _IN_ADDRESSES if not _PLAIN.fullmatch(getattr(lab, name))]
    if not wrong:
        return None
    return problem(
        ".env",
        f"{', '.join(wrong)} has characters that break the addresses it becomes part of.",
        "Use letters, digits, - and _ only.",
    )


def _unknown_names(file: Path, example: Path) -> Finding | None:
    known = set(re.findall(r"^([A-Z][A-Z0-9_]*)=", example.read_text(encoding="utf-8"), re.MULTILINE))
    # Compose's own variables, such as COMPOSE_PROJECT_NAME.
    unknown = sorted(name for name in variables_of(file) if name not in known and not name.startswith("COMPOSE_"))
    if not unknown:
        return None
    return warning(".env", f"Nothing reads {', '.join(unknown)}.", "Compare the spelling with docker/.env.example.")


def _readable_by_others(file: Path, lab: ComposeSettings) -> Finding | None:
    own = [name for name in PASSWORDS if (value := getattr(lab, name.lower())) and not is_published(name, value)]
    if not own or not stat.S_IMODE(file.stat().st_mode) & 0o077:
        return None
    return warning(
        ".env", f"Other users of this machine can read {', '.join(own)} in docker/.env.", "Run `chmod 600 docker/.env`."
    )


def check_pages(compose_file: Path) -> list[Finding]:
    """Check that other publishers' pages get only known settings.

    Args:
        compose_file: compose file of the lab.
    """
    try:
        document = document_of(compose_file)
        services = document["services"]
        nimtable = yaml.safe_load(document["configs"]["nimtable"]["content"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        return [problem(_PAGES, f"The settings cannot be read ({type(error).__name__}: {error}).", _UNDO)]
    faults = [
        f"{service}: {fault}"
        for service, program in PROGRAMS.items()
        for fault in program.faults(services.get(service, {}).get("environment", {}))
    ]
    faults += [f"configs.nimtable: {fault}" for fault in faults_of_nimtable(nimtable)]
    if faults:
        return [problem(_PAGES, fault, _UNDO) for fault in faults]
    return [ok(_PAGES, "Console, Redis Insight and Nimtable get settings that they know.")]
