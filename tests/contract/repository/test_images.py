"""Images and the code that runs in them hold the core and their own service, and no tools."""

import json
import re
from pathlib import Path

import pytest

from gourmetgram.settings import PROJECT_ROOT
from tests.support.sources import tracked_files

IN_IMAGES = (*tracked_files("airflow/*.py"), *tracked_files("model_training/*.py"), *tracked_files("*.ipynb"))
DOCKERFILES = tracked_files("*Dockerfile")


@pytest.mark.parametrize("path", IN_IMAGES, ids=str)
def test_dags_and_notebooks_import_the_core_only(path: Path) -> None:
    text = (PROJECT_ROOT / path).read_text()
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    assert "gourmetgram_tools" not in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=str)
def test_no_image_contains_the_tools(path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*)$", (PROJECT_ROOT / path).read_text(), re.MULTILINE)
    assert not [line for line in copied if "gourmetgram_tools" in line or line.startswith(". ")]


@pytest.mark.parametrize("path", ("airflow/Dockerfile", "model_training/Dockerfile"))
def test_images_that_register_models_hold_the_lifecycle_its_wheel_and_lightgbm_s_library(path: str) -> None:
    text = (PROJECT_ROOT / path).read_text()
    image = text.rpartition("\nFROM ")[2]
    assert "libgomp1" in image
    assert "COPY --from=wheel /opt/gourmetgram /opt/gourmetgram" in image
    assert "COPY model_training/lifecycle model_training/lifecycle" in text
    # Built without the package index. Its metadata comes along: MLflow looks for an entry point of ours.
    assert "pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /opt/gourmetgram/dist ." in text
    assert "python -m zipfile -e /opt/gourmetgram/dist/*.whl /opt/gourmetgram" in text


def test_the_build_context_leaves_the_tools_out() -> None:
    lines = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert "!gourmetgram" in lines
    assert "!gourmetgram_tools" not in lines
