"""The lock files install without a compiler on every machine that the README names: asked of the package index.

Where this fails for want of an index, the message says so.
"""

import itertools
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from gourmetgram.settings import PROJECT_ROOT

LOCKS = ("dev", "airflow", "mlflow")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Pure Python that is published as source only: pip builds it anywhere, without a compiler.
FROM_SOURCE = ("pyspark-client",)
COMBINATIONS = list(itertools.product(LOCKS, PLATFORMS, PYTHONS))

pytestmark = pytest.mark.timeout(900)  # a slow line to the index, and an empty cache

Resolution = subprocess.CompletedProcess[str]
Resolutions = dict[tuple[str, str, str], Future[Resolution]]

# With the answers of the index in uv's cache each takes a second or two, without them ten.
_TIMEOUT_S = 600


@pytest.fixture(scope="module", name="resolutions")
def resolutions_fixture() -> Resolutions:
    """All combinations, asked at the same time."""
    with ThreadPoolExecutor(8) as pool:
        return {each: pool.submit(resolve, *each) for each in COMBINATIONS}


def resolve(lock: str, platform: str, python: str) -> Resolution:
    """Find a wheel for each pin of a lock file."""
    return subprocess.run(
        [
            *(Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--no-deps", "--no-header"),
            *("--only-binary", ":all:", *(part for name in FROM_SOURCE for part in ("--no-binary", name))),
            *("--python-platform", platform, "--python-version", python),
            # Otherwise it looks for an interpreter of that version, and asks each it finds.
            *("--python", sys.executable),
            PROJECT_ROOT / "requirements" / f"{lock}.txt",
        ],
        env={**os.environ, "UV_SYSTEM_CERTS": "1", "MACOSX_DEPLOYMENT_TARGET": "13.0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )


@pytest.mark.parametrize(("lock", "platform", "python"), COMBINATIONS)
def test_every_pin_has_a_wheel(resolutions: Resolutions, lock: str, platform: str, python: str) -> None:
    answer = resolutions[lock, platform, python].result()
    if "error sending request" in answer.stderr or "Failed to fetch" in answer.stderr:
        pytest.fail(
            "uv does not reach the package index, so this cannot be known here. It does not read pip's configuration: "
            f"a mirror belongs into UV_DEFAULT_INDEX. {answer.stderr[-400:]}"
        )
    assert answer.returncode == 0, answer.stderr
    pins = {line.partition("==")[0] for line in answer.stdout.splitlines() if "==" in line}
    assert len(pins) > (80 if lock == "mlflow" else 150)
