"""scripts/setup.sh on machines of other kinds: the programs around it are stubs that note how they are called."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gourmetgram.settings import PROJECT_ROOT

REAL = ("bash", "cat", "env", "grep", "awk", "tr", "rm", "mktemp", "sh")
TOOLS = ("make", "git", "curl")
UBUNTU = ("docker-compose-v2 2.40.3", "docker-buildx 0.30.1")
DEBIAN_13 = ("docker-compose 2.26.1-4", "docker-buildx 0.13.1")
OLD = ("docker-compose 1.29.2-3", "docker-buildx 0.10.4")


class Machine:
    """A machine whose programs are those of one folder."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in REAL:
            program = shutil.which(name)
            assert program is not None, name
            (self.programs / name).symlink_to(program)
        self.stub("id", 'case "$1" in -un) echo cc ;; -u) echo 1000 ;; -nG) echo "cc $(cat "$0.groups")" ;; esac')
        (self.programs / "id.groups").write_text("adm")
        self.stub("sudo", 'echo "sudo $*" >> "$CALLS"; exec "$@"')
        self.stub("python3", 'echo "Python 3.12.3"')
        for name in ("systemctl", "groupadd", "usermod"):
            self.stub(name, ":")
        # What apt installs is there afterwards.
        self.stub("apt-get", 'case "$*" in *docker*) : > "$0.docker" ;; esac')

    def stub(self, name: str, script: str) -> None:
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def packages(self, *lines: str) -> None:
        """Let apt know packages with their versions."""
        listing = self.programs / "apt-cache.list"
        listing.write_text("".join(f"{line}\n" for line in lines))
        self.stub("apt-cache", f"echo '  Candidate:' \"$(grep \"^$2 \" {listing} | awk '{{print $2}}')\"")

    def docker(self, complete: str = "true") -> None:
        """Have an engine; its plugins answer when the command `complete` does."""
        self.stub("docker", f'case "$1" in --version) echo "Docker version 29" ;; *) {complete} ;; esac')

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(PROJECT_ROOT / "scripts" / "setup.sh")],
            env={"PATH": str(self.programs), "CALLS": str(self.calls)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def installed(self) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line.partition(" -qq ")[2] for line in lines if "apt-get install" in line]


@pytest.fixture(name="machine")
def machine_fixture(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.packages()
    for name in TOOLS:
        machine.stub(name, ":")
    return machine


@pytest.mark.parametrize(("release", "compose"), [(UBUNTU, "docker-compose-v2"), (DEBIAN_13, "docker-compose")])
def test_docker_comes_from_the_release_where_it_has_the_plugins(
    machine: Machine, release: tuple[str, ...], compose: str
) -> None:
    machine.packages(*release)
    # Not there before apt has put it there.
    machine.stub(
        "apt-get",
        f'case "$*" in *docker*) echo "#!/bin/sh" > {machine.programs}/docker; '
        f"/bin/chmod 755 {machine.programs}/docker ;; esac",
    )
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert machine.installed == [f"docker.io {compose} docker-buildx"]
    assert "sudo usermod -aG docker cc" in machine.calls.read_text()
    assert "cc was added to the group docker: log out and in again" in done.stdout


def test_an_engine_of_another_publisher_stays(machine: Machine) -> None:
    machine.packages(*UBUNTU)
    machine.docker(complete=f"[ -e {machine.programs}/apt-get.docker ]")
    assert machine.run().returncode == 0
    assert machine.installed == ["docker-compose-v2 docker-buildx"]


def test_a_release_without_the_plugins_takes_the_publisher_s_script(machine: Machine) -> None:
    machine.packages(*OLD)
    machine.stub("curl", f'echo ": > {machine.programs}/apt-get.docker" > "$4"')
    machine.docker(complete=f"[ -e {machine.programs}/apt-get.docker ]")
    assert machine.run().returncode == 0
    assert machine.installed == []


def test_a_publisher_out_of_reach_is_named(machine: Machine) -> None:
    machine.packages(*OLD)
    machine.stub("curl", "exit 6")
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == (
        "Docker's script cannot be downloaded from https://get.docker.com: check the network, then run this again.\n"
    )


def test_tools_that_are_missing_are_installed_together(machine: Machine) -> None:
    machine.docker()
    (machine.programs / "make").unlink()
    machine.stub("python3", 'case "$1" in -c) exit 1 ;; *) echo "Python 3.12.3" ;; esac')
    assert machine.run().returncode == 0
    assert machine.installed == ["make python3-venv"]


def test_on_a_machine_that_has_all_nothing_is_installed(machine: Machine) -> None:
    machine.docker()
    (machine.programs / "id.groups").write_text("adm docker")
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "cc may use Docker." in done.stdout
    assert "apt-get" not in machine.calls.read_text()
    assert "usermod" not in machine.calls.read_text()
