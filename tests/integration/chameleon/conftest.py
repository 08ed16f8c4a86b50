"""A cloud, a virtual machine and students for the provisioning notebooks."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gourmetgram.settings import process_environment
from tests.cloud.app import serving
from tests.cloud.kernel import Kernel, started
from tests.cloud.ssh import Machine, reachable
from tests.cloud.state import Cloud
from tests.cloud.student import Student, code_cells, new_key

MakeStudent = Callable[[str], Student]
_GIT_USER = ("-c", "user.name=Course", "-c", "user.email=course@example.org")


def commit(repository: Path, title: str) -> None:
    """Empty commit on the branch main."""
    subprocess.run(["git", "-C", str(repository), *_GIT_USER, "commit", "-q", "--allow-empty", "-m", title], check=True)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    with serving(cloud):
        yield cloud


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Copy of the platform that the students clone: here a repository with one commit."""
    folder = tmp_path / "copy.git"
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    commit(folder, "First")
    return folder


@pytest.fixture
def machine(tmp_path: Path, repository: Path) -> Iterator[Machine]:
    """A virtual machine whose git reads the copy of the platform from the disk instead of from the network."""
    (tmp_path / "machine").mkdir()
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path / "machine"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": address_of_the_copy(),
    }
    machine = Machine(tmp_path / "machine", new_key(), environment)
    with reachable(machine):
        yield machine


def address_of_the_copy() -> str:
    """Value of `repository` in the notebook."""
    (line,) = (
        line for cell in code_cells("1_create_server") for line in cell.splitlines() if line.startswith("repository =")
    )
    return line.split('"')[1]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with started(tmp_path_factory.mktemp("kernel"), kernel_environment()) as kernel:
        yield kernel


def kernel_environment() -> dict[str, str]:
    """This process's variables, without those of a cloud."""
    return {name: value for name, value in process_environment().items() if not name.startswith("OS_")}


@pytest.fixture
def make_student(cloud: Cloud, machine: Machine, tmp_path: Path, kernel: Kernel) -> MakeStudent:
    return lambda name: Student(name, tmp_path / name, cloud, machine, kernel)


@pytest.fixture
def student(make_student: MakeStudent) -> Student:
    return make_student("ada")
