"""The extras of pyproject.toml name each library that their packages import; nothing comes in by chance."""

import ast
import importlib.util
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gourmetgram.settings import PROJECT_ROOT

PACKAGES = {
    "api": ("api_v1", "api_v2"),
    "consumer": ("stream_consumer",),
    "scorer": ("risk_scoring_service",),
    "generator": ("data_generator",),
    "setup": ("setup_jobs",),
    "lifecycle": ("model_training/lifecycle",),
    "tools": ("gourmetgram_tools",),
}
PART_OF = {"botocore": "boto3", "pydantic_core": "pydantic", "starlette": "fastapi"}
"""Modules that another library brings along and offers as its own."""

OURS = {"gourmetgram", "model_training", *(name for names in PACKAGES.values() for name in names)}


def imported(package: str) -> set[str]:
    """Top-level names of the foreign modules that a package imports, inside of functions too."""
    found: set[str] = set()
    for path in (PROJECT_ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return {PART_OF.get(name, name) for name in found - OURS - sys.stdlib_module_names}


def declared(extra: str) -> set[str]:
    """Distributions of an extra and of those that it names, as the images install them."""
    path = PROJECT_ROOT / "docker" / "dependencies.py"
    spec = importlib.util.spec_from_file_location("dependencies", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    return {canonicalize_name(Requirement(text).name) for text in module.requirements(project, [extra])}


@pytest.mark.parametrize("extra", PACKAGES)
def test_an_extra_names_every_library_that_its_packages_import(extra: str) -> None:
    distributions = packages_distributions()
    known, names = declared(extra), {name for package in PACKAGES[extra] for name in imported(package)}
    missing = {
        name: distributions.get(name, ["not installed"])
        for name in sorted(names)
        if known.isdisjoint(canonicalize_name(each) for each in distributions.get(name, []))
    }
    assert missing == {}
