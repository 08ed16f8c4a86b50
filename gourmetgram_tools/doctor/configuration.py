"""Checks of the lab's .env and of the settings of other publishers' pages."""

import re
from pathlib import Path
from typing import Final

import yaml

from gourmetgram.database.roles import RoleSettings
from gourmetgram_tools.compose.file import services_of
from gourmetgram_tools.compose.programs import PROGRAMS, faults_of_nimtable
from gourmetgram_tools.compose.settings import ComposeSettings, variables_of
from gourmetgram_tools.doctor.findings import Finding, ok, problem, warning

_DEFAULTS: Final = ComposeSettings()
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
                "Fine behind a firewall. Otherwise `cp docker/.env.example docker/.env`, and change the passwords.",
            )
        ]
    findings = [_special_characters(lab), _unknown_names(file, example), _open_with_defaults(lab)]
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


def _open_with_defaults(lab: ComposeSettings) -> Finding | None:
    if lab.ui_bind in ("127.0.0.1", "localhost") or lab.airflow_admin_password != _DEFAULTS.airflow_admin_password:
        return None
    return warning(
        ".env",
        "Pages are open to every address that reaches this machine, with the lab's published passwords.",
        "Fine behind a firewall. Otherwise set own passwords, or UI_BIND=127.0.0.1 and an SSH tunnel.",
    )


def check_pages(compose_file: Path, nimtable_file: Path, lab: ComposeSettings) -> list[Finding]:
    """Check that other publishers' pages get only known settings, and Nimtable the password of its database.

    Args:
        compose_file: compose file of the lab.
        nimtable_file: Nimtable's settings, in which variables are not replaced.
        lab: settings with the passwords of .env.
    """
    try:
        services = services_of(compose_file)
        document = yaml.safe_load(nimtable_file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        return [problem(_PAGES, f"The settings cannot be read ({type(error).__name__}: {error}).", _UNDO)]
    faults = [
        f"{service}: {fault}"
        for service, program in PROGRAMS.items()
        for fault in program.faults(services.get(service, {}).get("environment", {}))
    ]
    faults += [f"{nimtable_file.name}: {fault}" for fault in faults_of_nimtable(document)]
    if faults:
        return [problem(_PAGES, fault, _UNDO) for fault in faults]
    if str(document["database"]["password"]) != lab.nimtable_db_password:
        return [
            problem(
                _PAGES,
                f"NIMTABLE_DB_PASSWORD differs between {nimtable_file.name} and .env: Nimtable cannot log in.",
                f"Write the same value into docker/{nimtable_file.name}, then `docker compose restart nimtable`.",
            )
        ]
    return [ok(_PAGES, "Console, Redis Insight and Nimtable get settings that they know.")]
