"""Generated passwords in docker/.env: private, complete, kept, and never against a volume that has other ones."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.compose.file import services_of
from gourmetgram_tools.compose.pages import compose_pages
from gourmetgram_tools.compose.passwords import PASSWORDS, generate, is_published
from gourmetgram_tools.compose.settings import ComposeSettings, variables_of

EXAMPLE = (PROJECT_ROOT / "docker" / ".env.example").read_text()
PutDocker = Callable[[str], None]


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """The lab's docker folder without a .env."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / ".env.example").write_text(EXAMPLE)
    return tmp_path / "docker"


@pytest.fixture(name="docker", autouse=True)
def docker_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PutDocker:
    """Puts a Docker in the PATH that answers as given; by default, it knows no volume."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def put(script: str) -> None:
        (tmp_path / "docker.sh").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker.sh").chmod(0o755)
        monkeypatch.setattr("gourmetgram_tools.programs.shutil.which", lambda _name: str(tmp_path / "docker.sh"))

    put("true")
    return put


def test_every_password_gets_a_value_of_its_own_in_a_private_file(folder: Path) -> None:
    before = os.umask(0)
    try:
        assert generate(folder) == PASSWORDS
    finally:
        os.umask(before)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    made = {name: value for name, value in variables_of(folder / ".env").items() if name in PASSWORDS}
    assert made.keys() == set(PASSWORDS)
    assert len(set(made.values())) == len(PASSWORDS)
    assert all(re.fullmatch(r"[0-9a-f]{32}", value) for value in made.values())
    assert variables_of(folder / ".env")["LAB_PASSWORDS"] == "generated"


def test_other_lines_of_the_file_stay(folder: Path) -> None:
    text = "# mine\nUI_BIND=127.0.0.1\nPOSTGRES_PASSWORD=gourmetgram_postgres\nexport MINIO_ROOT_PASSWORD=own-minio\n"
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(0o644)
    names = generate(folder)
    assert names == tuple(name for name in PASSWORDS if name != "MINIO_ROOT_PASSWORD")
    lines = (folder / ".env").read_text().splitlines()
    assert lines[:2] == ["# mine", "UI_BIND=127.0.0.1"]
    assert "export MINIO_ROOT_PASSWORD=own-minio" in lines
    assert sum("POSTGRES_PASSWORD=" in line for line in lines) == 1
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600


def test_a_second_run_changes_nothing_even_with_volumes(folder: Path, docker: PutDocker) -> None:
    generate(folder)
    before = (folder / ".env").read_text()
    docker("echo gourmetgram_postgres_data")
    assert generate(folder) == ()
    assert (folder / ".env").read_text() == before


def test_a_volume_with_the_published_passwords_is_a_refusal_that_changes_nothing(
    folder: Path, docker: PutDocker
) -> None:
    (folder / ".env").write_text(EXAMPLE)
    docker("echo gourmetgram_postgres_data")
    with pytest.raises(PermanentError, match="gourmetgram_postgres_data was made with the published POSTGRES_PASSWORD"):
        generate(folder)
    assert (folder / ".env").read_text() == EXAMPLE


def test_passwords_that_no_volume_keeps_are_generated_beside_one(folder: Path, docker: PutDocker) -> None:
    (folder / ".env").write_text("POSTGRES_PASSWORD=a\nNIMTABLE_PASSWORD=b\nNIMTABLE_DB_PASSWORD=c\n")
    docker("echo gourmetgram_postgres_data")
    kept = ("POSTGRES_PASSWORD", "NIMTABLE_PASSWORD", "NIMTABLE_DB_PASSWORD")
    assert generate(folder) == tuple(name for name in PASSWORDS if name not in kept)


def test_volumes_of_another_project_do_not_matter(folder: Path, docker: PutDocker) -> None:
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=mine\n")
    docker('case "$*" in *compose.project=mine*compose.volume=postgres_data*) ;; *) echo taken ;; esac')
    assert generate(folder) == PASSWORDS


def test_a_docker_that_does_not_answer_is_an_error(folder: Path, docker: PutDocker) -> None:
    docker("echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(TransientError, match="Cannot connect to the Docker daemon"):
        generate(folder)
    assert not (folder / ".env").exists()


def test_the_former_secret_of_nimtable_counts_as_published() -> None:
    assert is_published("NIMTABLE_JWT_SECRET", "nimtable-lab-jwt-secret")
    assert not is_published("NIMTABLE_JWT_SECRET", "")
    assert not is_published("POSTGRES_PASSWORD", "own")


def test_pages_services_and_the_links_get_the_generated_values(folder: Path) -> None:
    generate(folder)
    variables = variables_of(folder / ".env")
    lab = ComposeSettings.load(variables)
    text = str(services_of(PROJECT_ROOT / "docker" / "docker-compose.yaml", variables))
    published = [ComposeSettings.model_fields[name.lower()].default for name in PASSWORDS]
    # A login of a service has a name like its published password.
    assert [value for value in published if value and (f":{value}@" in text or f"PASSWORD': '{value}'" in text)] == []
    logins = " ".join(f"{page.url} {page.login}" for page in compose_pages(lab, "localhost"))
    for name in (
        "POSTGRES_PASSWORD",
        "MINIO_ROOT_PASSWORD",
        "AIRFLOW_ADMIN_PASSWORD",
        "NIMTABLE_PASSWORD",
        "JUPYTER_TOKEN",
    ):
        assert variables[name] in text
        assert variables[name] in logins
