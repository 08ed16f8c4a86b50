"""The wait for free space before a program starts."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gourmetgram_tools.local import free_space


class _Usage(NamedTuple):
    free: int


def test_a_program_starts_in_the_place_of_the_wait(tmp_path: Path) -> None:
    command = [sys.executable, "-I", free_space.__file__, str(tmp_path), sys.executable, "-c", "print('started')"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "started\n"


def test_a_full_disk_is_waited_for_and_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([_Usage(0), _Usage(free_space.LEAST_BYTES - 1), _Usage(free_space.LEAST_BYTES)])
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: next(looks))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    free_space.wait_for_space("/data")
    assert next(looks, None) is None
    assert capsys.readouterr().out.count("less than 64 MiB are free in /data") == 1
