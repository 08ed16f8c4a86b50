"""The lab's .env, and the one file that repeats passwords of it."""

import re
from pathlib import Path
from typing import Final

import yaml

from gourmetgram.compose.settings import ComposeSettings, variables_of
from gourmetgram.doctor.findings import Finding, ok, problem, warning

_DEFAULTS: Final = ComposeSettings()
_IN_ADDRESSES: Final = ("postgres_user", "postgres_password", "nimtable_db_password")
"""Settings that become parts of URLs."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def check_env_file(docker_folder: Path, lab: ComposeSettings) -> list[Finding]:
    """The .env is there, names only what exists, and has passwords that fit into addresses."""
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


def check_nimtable(config: Path, lab: ComposeSettings) -> Finding:
    """Nimtable's file, which knows no variables, has the passwords of .env."""
    check = "Nimtable"
    try:
        document = yaml.safe_load(config.read_text(encoding="utf-8"))
        catalog = next(item for item in document["catalogs"] if item["name"] == "gourmetgram")
        pairs = {
            "NIMTABLE_DB_PASSWORD": (document["database"]["password"], lab.nimtable_db_password),
            "POSTGRES_USER": (catalog["jdbc.user"], lab.postgres_user),
            "POSTGRES_PASSWORD": (catalog["jdbc.password"], lab.postgres_password),
            "MINIO_ROOT_USER": (catalog["s3.access-key-id"], lab.minio_root_user),
            "MINIO_ROOT_PASSWORD": (catalog["s3.secret-access-key"], lab.minio_root_password),
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        advice = "Undo local changes with `git checkout docker/nimtable-config.yaml`."
        return problem(check, f"{config.name} cannot be used ({type(error).__name__}: {error}).", advice)
    different = [name for name, (written, wanted) in pairs.items() if str(written) != wanted]
    if different:
        return problem(
            check,
            f"{', '.join(different)} differs between {config.name} and .env: Nimtable could not log in.",
            f"Write the same values into docker/{config.name}, then `docker compose restart nimtable`.",
        )
    return ok(check, f"{config.name} has the logins of .env.")
