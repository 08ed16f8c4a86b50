"""Answers of other programs: both streams, the environment, the working directory, the time limit."""

import sys
from pathlib import Path

from gourmetgram_tools.programs import ask


def test_both_streams_and_the_code_are_kept() -> None:
    answer = ask("sh", "-c", "echo seen; echo why >&2; exit 3")
    assert answer is not None
    assert (answer.code, answer.output, answer.error, answer.last_line) == (3, "seen", "why", "why")
    assert not answer.succeeded


def test_variables_are_added_and_the_working_directory_is_the_given_one(tmp_path: Path) -> None:
    answer = ask("sh", "-c", 'echo "$COLOUR $PWD ${PATH:+path}"', environment={"COLOUR": "red"}, folder=tmp_path)
    assert answer is not None
    assert answer.output == f"red {tmp_path} path"


def test_a_program_that_is_too_slow_is_killed_and_its_output_kept() -> None:
    script = "import time; print('begun', flush=True); time.sleep(60)"
    answer = ask(sys.executable, "-c", script, timeout_s=1.5)
    assert answer is not None
    assert (answer.code, answer.output) == (None, "begun")
    assert answer.last_line == "no answer within 2 s"


def test_a_program_has_no_input_to_wait_for() -> None:
    answer = ask("cat", timeout_s=10)
    assert answer is not None
    assert answer.succeeded


def test_a_program_that_is_not_installed_has_no_answer() -> None:
    assert ask("gourmetgram-no-such-program") is None
