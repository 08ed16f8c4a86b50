"""Old log files go, with the folders that they leave empty."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

from gourmetgram.settings import PROJECT_ROOT

DAY_S = 86_400


@pytest.fixture(name="module")
def module_fixture(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROJECT_ROOT / "airflow" / "dags"))
    return importlib.import_module("log_retention")


def test_only_files_beyond_the_age_go_and_empty_folders_with_them(module: ModuleType, tmp_path: Path) -> None:
    now = 1_800_000_000.0
    for name, age_days in {"a/old.log": 31, "b/old.log": 31, "b/young.log": 29}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("line")
        os.utime(path, (now - age_days * DAY_S,) * 2)
    assert module.remove_old_logs(tmp_path, 30, now) == 2
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["b", "b/young.log"]
    assert module.remove_old_logs(tmp_path / "missing", 30, now) == 0
