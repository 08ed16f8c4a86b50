"""The platform's wheel: built where its sources are, taken as it is when it fits, refused when it does not."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram.settings import PROJECT_ROOT
from model_training.lifecycle.wheels import code_paths, platform_wheel, running_version

NAME = f"gourmetgram-{running_version()}-py3-none-any.whl"
OTHER = "gourmetgram-0.0.1-py3-none-any.whl"


@pytest.fixture(scope="module", name="built")
def built_fixture() -> Path:
    return platform_wheel()


@pytest.fixture(name="sources")
def sources_fixture(tmp_path: Path) -> Iterator[Path]:
    """A folder with the sources of the platform, and no wheel."""
    for path in PROJECT_ROOT.iterdir():
        if path.name in {"pyproject.toml", "README.md", "LICENSE"} or (path / "__init__.py").exists():
            (tmp_path / path.name).symlink_to(path)
    yield tmp_path
    shutil.rmtree(tmp_path / "build", ignore_errors=True)


def without(wheel: Path, left_out: str, target: Path) -> Path:
    """A copy of a wheel without one of its members."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name != left_out:
                new.writestr(name, old.read(name))
    return target


def test_a_wheel_is_built_once_from_the_sources(sources: Path) -> None:
    wheel = platform_wheel(sources)
    assert wheel == sources / "dist" / NAME
    before = wheel.stat().st_mtime_ns
    assert platform_wheel(sources).stat().st_mtime_ns == before


def test_a_wheel_of_older_sources_is_built_again(sources: Path, built: Path) -> None:
    member = "model_training/lifecycle/wrappers.py"
    without(built, member, sources / "dist" / NAME)
    with zipfile.ZipFile(platform_wheel(sources)) as archive:
        assert archive.read(member) == (PROJECT_ROOT / member).read_bytes()


def test_a_module_that_an_earlier_build_left_does_not_enter_the_wheel(sources: Path) -> None:
    left = sources / "build" / "lib" / "model_training" / "lifecycle" / "deleted.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    with zipfile.ZipFile(platform_wheel(sources)) as archive:
        assert "model_training/lifecycle/deleted.py" not in archive.namelist()


def test_a_build_that_fails_gives_its_last_lines(sources: Path) -> None:
    (sources / "pyproject.toml").unlink()
    text = (PROJECT_ROOT / "pyproject.toml").read_text().replace("setuptools.build_meta", "no_such_backend")
    (sources / "pyproject.toml").write_text(text)
    with pytest.raises(PermanentError, match=r"`uv build --wheel` in .* failed.*no_such_backend"):
        platform_wheel(sources)


def test_a_build_without_uv_says_how_to_get_it(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(sources / "python"))
    monkeypatch.setenv("PATH", str(sources))
    with pytest.raises(PermanentError, match="without uv: run `make setup`"):
        platform_wheel(sources)


def test_a_container_takes_the_wheel_that_it_was_built_with(built: Path, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    shutil.copy(built, tmp_path / "dist")
    assert platform_wheel(tmp_path) == tmp_path / "dist" / NAME


def test_a_container_with_no_wheel_or_with_two_says_so(built: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="must hold one wheel of the platform, and holds none"):
        platform_wheel(tmp_path)
    without(built, "", tmp_path / "dist" / NAME)
    without(built, "", tmp_path / "dist" / OTHER)
    with pytest.raises(PermanentError, match=f"holds {OTHER}, {NAME}"):
        platform_wheel(tmp_path)


@pytest.mark.parametrize("name", [OTHER, "gourmetgram.whl"])
def test_a_wheel_of_another_version_is_refused(built: Path, tmp_path: Path, name: str) -> None:
    wheel = without(built, "", tmp_path / name)
    with pytest.raises(PermanentError, match=rf"wheel {name} is of another version .* \({running_version()}\): delete"):
        code_paths(wheel, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_a_wheel_with_other_code_is_refused(built: Path, tmp_path: Path) -> None:
    wheel = without(built, "gourmetgram/errors.py", tmp_path / NAME)
    with pytest.raises(PermanentError, match="has other code than the platform that runs"):
        code_paths(wheel, tmp_path / "unpacked")


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no archive")
    with pytest.raises(PermanentError, match="is no wheel"):
        code_paths(tmp_path / NAME, tmp_path / "unpacked")


def test_the_code_paths_are_the_wheel_and_the_lifecycle_from_it(built: Path, tmp_path: Path) -> None:
    wheel, package = code_paths(built, tmp_path)
    assert (wheel, package) == (str(built), str(tmp_path / "model_training"))
    modules = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py")}
    assert {"model_training/__init__.py", "model_training/lifecycle/wrappers.py"} <= modules
    assert "model_training/store_outputs.py" not in modules
