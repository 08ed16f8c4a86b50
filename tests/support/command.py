"""The command `gourmetgram` in the process of a test."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from gourmetgram_tools.cli.main import main

Run: TypeAlias = Callable[..., tuple[int, str, str]]
"""Runs the command with these arguments: gives exit code, output and errors."""


@pytest.fixture(name="run")
def run_fixture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command on stacks in an empty folder."""
    monkeypatch.setenv("GOURMETGRAM_STACK_HOME", str(tmp_path))
    monkeypatch.delenv("GOURMETGRAM_STACK", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gourmetgram", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call
