"""Reading log files while they grow and are rotated."""

import itertools
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from gourmetgram_tools.local import logs


def test_the_last_lines_of_a_missing_log_are_none(tmp_path: Path) -> None:
    assert logs.last_lines(tmp_path / "none.log", 3) == []


def test_only_the_last_lines_are_given(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("".join(f"line {number}\n" for number in range(10)))
    assert logs.last_lines(file, 2) == ["line 8", "line 9"]


def test_following_gives_new_lines_only_and_survives_rotation(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("old\n")
    steps = iter(range(3))

    def grow() -> None:
        match next(steps):
            case 0:
                with file.open("a") as log:
                    log.write("first\nhalf a")
            case 1:
                with file.open("a") as log:
                    log.write(" line\n")
                file.rename(tmp_path / "a.log.1")
                file.write_text("after rotation\n")
            case 2:
                (tmp_path / "later.log").write_text("a new file\n")

    lines = logs.follow({"a": file, "later": tmp_path / "later.log"}, pause=grow)
    assert isinstance(lines, Generator)
    with closing(lines):
        seen = list(itertools.islice(lines, 4))
    assert seen == [("a", "first"), ("a", "half a line"), ("a", "after rotation"), ("later", "a new file")]
