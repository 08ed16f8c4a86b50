"""The program that writes the large table: killed at each file, interrupted, repeated, on a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram.training.large_rows import LargeTablePlan
from gourmetgram.training.large_table import LARGE_TABLE, replace_large_table

pytestmark = pytest.mark.servers

PROGRAM = PROJECT_ROOT / "model_training" / "generate_large_dataset.py"
MEASURED = f"""
import runpy, sys
from bench.memory import peak_memory_bytes
sys.argv = ["generate_large_dataset.py", *sys.argv[1:]]
runpy.run_path({str(PROGRAM)!r}, run_name="__main__")
print(peak_memory_bytes())
"""
ROWS = 2_000_000
FILES = 4


def start(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        env={**process_environment(), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def run(environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and standard error."""
    process = start(environment, *arguments)
    _, error = process.communicate(timeout=120)
    return process.returncode, error


def stop_after(environment: Mapping[str, str], line: str, number: signal.Signals) -> tuple[int, str]:
    """Start the program, and send a signal when it has written a line; exit code and the rest of the lines."""
    with start(environment, str(ROWS)) as process:
        assert process.stderr is not None
        assert any(line in each for each in process.stderr)
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    return process.returncode, rest


def test_it_survives_a_kill_at_each_file_and_needs_little_memory(
    catalog: Catalog, lake_environment: dict[str, str]
) -> None:
    for number in range(1, FILES):
        line = f"{number * 500_000:,} of {ROWS:,} rows written"
        code, _ = stop_after(lake_environment, line, signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert not catalog.table_exists(LARGE_TABLE)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, f"{ROWS:,}"],
        cwd=PROJECT_ROOT,
        env={**process_environment(), **lake_environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 600_000_000
    killed = catalog.load_table(LARGE_TABLE).scan().to_arrow()
    whole = replace_large_table(catalog, LargeTablePlan(ROWS)).scan().to_arrow()
    key = [("view_velocity_per_min", "ascending")]
    assert killed.sort_by(key).equals(whole.sort_by(key))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_the_old_table_and_says_how_to_continue(
    catalog: Catalog, lake_environment: dict[str, str], number: signal.Signals
) -> None:
    replace_large_table(catalog, LargeTablePlan(20_000))
    code, text = stop_after(lake_environment, f"500,000 of {ROWS:,} rows written", number)
    assert code == 130
    assert f"Interrupted: {LARGE_TABLE} is as it was. The same command continues" in text
    assert "Traceback" not in text
    assert catalog.load_table(LARGE_TABLE).scan().count() == 20_000


def test_a_complete_table_is_left_alone_until_it_is_asked_for_again(
    catalog: Catalog, lake_environment: dict[str, str]
) -> None:
    environment = {**lake_environment, "LARGE_ROWS": "20000"}
    code, text = run(environment)
    assert (code, "20,000 of 20,000 rows written" in text) == (0, True)
    first = catalog.load_table(LARGE_TABLE).location()
    code, text = run(environment)
    assert code == 0
    assert f"{LARGE_TABLE} has these 20,000 rows already; --again replaces it" in text
    assert catalog.load_table(LARGE_TABLE).location() == first
    assert run(environment, "--again")[0] == 0
    assert catalog.load_table(LARGE_TABLE).location() != first
    assert run(environment, "30_000")[0] == 0
    assert catalog.load_table(LARGE_TABLE).scan().count() == 30_000


def test_a_terminal_shows_a_bar(lake_environment: dict[str, str]) -> None:
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "120000"],
        env={**process_environment(), **lake_environment, "TERM": "xterm"},
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = _all_of(ours)
    assert process.returncode == 0
    assert "━" in shown
    assert re.search(r"120000/120000", shown)
    assert "rows written" not in shown


def _all_of(terminal: int) -> str:
    parts = []
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        while True:
            try:
                part = screen.read(4096)
            except OSError:  # Linux's way to say that the program has closed its terminal
                break
            if not part:
                break
            parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["none"], {}, "'none' is no number of rows: give a whole number from 1"),
        (["0"], {}, "'0' is no number of rows"),
        ([], {"LARGE_ROWS": "many"}, "LARGE_ROWS: Input should be a valid integer"),
        ([], {"PYICEBERG_CATALOG__GOURMETGRAM__URI": "postgresql+psycopg2://u:p@127.0.0.1:1/x"}, "PostgreSQL is away"),
    ],
)
def test_bad_input_gets_a_sentence(
    lake_environment: dict[str, str], arguments: list[str], variables: dict[str, str], sentence: str
) -> None:
    code, text = run({**lake_environment, **variables}, *arguments)
    assert code in (1, 2)
    assert sentence in text
    assert "Traceback" not in text


def test_help_names_the_variable_and_the_default(lake_environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), "--help"], capture_output=True, text=True, check=True)
    assert "LARGE_ROWS" in done.stdout
    assert "6,000,000" in done.stdout
    assert "--again" in done.stdout
