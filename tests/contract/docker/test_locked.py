"""Every package that is installed is compared with a hash of the lock files."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gourmetgram.settings import PROJECT_ROOT
from tests.support.compose import dockerfiles

LOCKS = sorted((PROJECT_ROOT / "requirements").glob("*.txt"))
SCRIPT = PROJECT_ROOT / "docker" / "locked.py"
LOCK = """\
alpha==1.0 ; sys_platform == 'linux' \\
    --hash=sha256:11 \\
    --hash=sha256:12
    # via beta
alpha==2.0 ; sys_platform != 'linux' \\
    --hash=sha256:13
beta-gamma==3.0 \\
    --hash=sha256:14
    # via
    #   delta
    #   alpha
bare==1
"""


@pytest.fixture(scope="module", name="script")
def script_fixture() -> Any:
    spec = importlib.util.spec_from_file_location("locked", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_hashes_and_no_address(script: Any, lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^([A-Za-z0-9][\w.-]*)==", text, re.MULTILINE)
    assert pins
    assert len(re.findall(script._PACKAGE, text)) == len(pins)
    assert "://" not in text


def test_a_package_comes_with_its_hashes_and_all_its_markers(script: Any) -> None:
    expected = "".join(LOCK.splitlines(keepends=True)[:3] + LOCK.splitlines(keepends=True)[4:6])
    assert script.locked(LOCK, ["Alpha"]) == expected
    assert script.locked(LOCK, ["Beta_Gamma"]) == "beta-gamma==3.0 \\\n    --hash=sha256:14\n"


@pytest.mark.parametrize("name", ["bare", "delta"])
def test_a_package_without_hashes_is_an_error_that_names_it(script: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"no hashes for {name}"):
        script.locked(LOCK, ["alpha", name])


def test_a_report_of_pip_stands_for_its_packages(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text(LOCK)
    report = {"install": [{"metadata": {"name": "beta_gamma", "version": "3.0"}}]}
    (tmp_path / "resolved.json").write_text(json.dumps(report))
    done = subprocess.run(
        [sys.executable, SCRIPT, "lock.txt", "resolved.json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "beta-gamma==3.0 \\\n    --hash=sha256:14\n"


@pytest.mark.parametrize("file", list(dockerfiles()), ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_an_image_installs_nothing_without_a_hash(file: Path) -> None:
    commands = re.findall(r"pip install (?:[^\n]*\\\n)*[^\n]*", file.read_text())
    installing = [command.replace("\\\n", " ").split(" && ")[0] for command in commands]
    assert installing
    for command in installing:
        assert "--require-hashes" in command or "--dry-run" in command, command


def test_the_makefile_installs_nothing_without_a_hash() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for line in makefile.splitlines():
        if "pip install" in line and "uv pip" not in line:
            assert "--require-hashes" in line or "--editable ." in line, line
