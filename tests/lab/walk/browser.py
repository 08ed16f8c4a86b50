"""Screenshots of the lab's pages in a real browser, with the lab's logins.

Chromium comes from Debian. Its driver comes from PyPI, into an environment of its own in the cache.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Final

from tests.lab.commands import check, run
from tests.lab.expectations import expect
from tests.lab.lab import Lab
from tests.lab.places import OUTPUT, cache
from tests.lab.standins import debian
from tests.lab.steps import LabStep, Stage

_DRIVER: Final = "playwright~=1.65"
_SCRIPT: Final = Path(__file__).with_name("photographer.py")
_SMALLEST_BYTES: Final = 8_000
"""An empty page of this size is smaller as a PNG."""


def _python() -> Path:
    return cache() / "browser" / "bin" / "python"


def _install(lab: Lab) -> str:
    if shutil.which("chromium") is None:
        debian.install("chromium", "fonts-dejavu-core")
    if not _python().exists():
        check(sys.executable, "-m", "venv", _python().parent.parent)
        check(_python(), "-m", "pip", "install", "--quiet", _DRIVER, timeout=300)
    return check("chromium", "--version").splitlines()[-1]


def _photograph(page: str) -> LabStep:
    def see(lab: Lab) -> str:
        file = OUTPUT / "screenshots" / f"{page}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        logins = {**lab.login(), "AIRFLOW_ADMIN_PASSWORD": lab.settings.airflow_admin_password}
        answer = run(_python(), _SCRIPT, page, file, json.dumps(logins)).must_succeed()
        size = file.stat().st_size
        expect(size >= _SMALLEST_BYTES, f"the page looks empty ({size} bytes)")
        return f"{file.relative_to(OUTPUT)} ({size // 1000} kB): {answer.output}"

    return LabStep(f"browser: {page}", "the page, logged in", see)


def _start_jupyter(lab: Lab) -> str:
    """The extended lab stops it, to give its port to the trainer."""
    lab.do("up -d jupyter")
    return lab.wait_healthy(["jupyter"])


STAGE = Stage(
    "browser",
    "Pages in a browser",
    (
        LabStep("chromium --version", "a browser from Debian", _install, needed=True),
        *(_photograph(page) for page in ("docs", "adminer", "minio", "airflow")),
        LabStep("DC up -d jupyter", "healthy: jupyter", _start_jupyter),
        _photograph("jupyter"),
    ),
)
MLFLOW = Stage(
    "browser-mlflow",
    "MLflow's pages in a browser",
    (
        LabStep("chromium --version", "a browser from Debian", _install, needed=True),
        *(_photograph(page) for page in ("mlflow_experiment", "mlflow_run", "mlflow_model")),
    ),
)
