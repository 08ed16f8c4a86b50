"""One vocabulary of the stream: names of Redis keys, windows, thresholds and times to live stand in two modules only.

A second definition drifts: a threshold that is changed in one place made the audit accuse the consumer.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gourmetgram import moments, windows
from gourmetgram.settings import PROJECT_ROOT
from gourmetgram.windows import (
    COUNT_NAMES,
    MILESTONES,
    WINDOW_US,
    TriggerSettings,
)

KEYS: Final = "gourmetgram/redis_keys.py"
WINDOWS: Final = "gourmetgram/windows.py"
MOMENTS: Final = "gourmetgram/moments.py"
FOLDERS: Final = (
    *("gourmetgram", "gourmetgram_tools", "api_v1", "api_v2", "data_generator", "stream_consumer"),
    *("risk_scoring_service", "setup_jobs", "airflow", "model_training"),
)
"""Source packages."""

_KEY: Final = re.compile(r"(?<![\w/.-])(?:image|consumer):(?:\*|%|\{|[0-9a-f-]{36}|[a-z]+\b|$)")
_UNITS: Final = {name: getattr(moments, name) for name in ("SECOND_US", "MINUTE_US", "HOUR_US", "DAY_US")}
_WIDTHS_US: Final = set(WINDOW_US.values())
_TTL_NAME: Final = re.compile(r"(?:^|_)ttl(?:_|$)|^[ep]x$", re.IGNORECASE)
_LUA_STRING: Final = re.compile(r"'([^']*)'")
_LUA_NUMBER: Final = re.compile(r"(?<![\w.%])\d+(?![\w.])")
_LUA_ALLOWED: Final = {1_000_000: "microseconds of a second", 2_000: "values of one command"}
_SMALL: Final = 16


def python_files() -> list[Path]:
    """Python files of the source packages, without the vocabulary itself."""
    found = [path for folder in FOLDERS for path in sorted((PROJECT_ROOT / folder).rglob("*.py"))]
    return [path for path in found if name_of(path) not in (KEYS, WINDOWS, MOMENTS)]


def lua_files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((PROJECT_ROOT / folder).rglob("*.lua"))]


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT_ROOT).as_posix()


def subscripts(tree: ast.AST) -> set[ast.AST]:
    """Keys of look-ups: `WINDOW_US["5min"]` uses the vocabulary."""
    return {node.slice for node in ast.walk(tree) if isinstance(node, ast.Subscript)}


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """Texts that stand as statements: docstrings of modules, classes, functions and attributes."""
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def value_of(node: ast.AST) -> float | None:
    """Value of a product of numbers and units of time that has at least one number in it; else None."""
    value, literal = _product(node)
    return value if literal else None


def _product(node: ast.AST) -> tuple[float | None, bool]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value), True
    if isinstance(node, ast.Name) and node.id in _UNITS:
        return _UNITS[node.id], False
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        (left, left_literal), (right, right_literal) = _product(node.left), _product(node.right)
        if left is not None and right is not None:
            return left * right, left_literal or right_literal
    return None, False


def ttl_name(node: ast.AST) -> str | None:
    """Name of a constant or argument that is a time to live in numbers."""
    if isinstance(node, ast.AnnAssign | ast.Assign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        name = target.id if isinstance(target, ast.Name) else None
    elif isinstance(node, ast.keyword):
        name = node.arg
    else:
        return None
    if name is None or node.value is None or not _TTL_NAME.search(name):
        return None
    return name if any(value_of(part) is not None for part in ast.walk(node.value)) else None


def python_faults(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each definition that belongs to the vocabulary."""
    tree = ast.parse(source)
    allowed = docstrings(tree) | subscripts(tree)
    triggers = set(TriggerSettings.model_fields)
    for node in ast.walk(tree):
        if node in allowed:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _KEY.search(node.value):
                yield node.lineno, f"the Redis key {node.value!r}: take it from {KEYS}"
            if node.value in WINDOW_US:
                yield node.lineno, f"the window {node.value!r}: take it from {WINDOWS}"
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in triggers:
            yield node.lineno, f"the setting {node.target.id}: inherit it from TriggerSettings in {WINDOWS}"
        elif isinstance(node, ast.Tuple) and tuple(map(value_of, node.elts)) == MILESTONES:
            yield node.lineno, f"the milestones {MILESTONES}: take them from {WINDOWS}"
        elif isinstance(node, ast.expr) and (value := value_of(node)) in _WIDTHS_US:
            yield node.lineno, f"{value:,.0f} us: take a window's width from {WINDOWS}, a unit of time from {MOMENTS}"
        elif isinstance(node, ast.stmt | ast.keyword) and (name := ttl_name(node)) is not None:
            yield node.lineno, f"the time to live {name}: take it from {WINDOWS}"


def lua_faults(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each name or number that the script should get as an argument."""
    for number, line in enumerate(source.splitlines(), 1):
        code = line.split("--")[0]
        for text in _LUA_STRING.findall(code):
            if _KEY.search(text) or text in WINDOW_US or text in COUNT_NAMES or text in windows.COUNTED_KINDS.values():
                yield number, f"'{text}': let scripts.py pass it from {KEYS} or {WINDOWS}"
        for digits in _LUA_NUMBER.findall(_LUA_STRING.sub("", code)):
            if int(digits) > _SMALL and int(digits) not in _LUA_ALLOWED and "sub(" not in code:
                yield number, f"{digits}: let scripts.py pass it from {WINDOWS}"


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_python_takes_the_vocabulary_from_its_modules(path: Path) -> None:
    faults = [f"{name_of(path)}:{line}: {fault}" for line, fault in python_faults(path.read_text())]
    assert faults == []


@pytest.mark.parametrize("path", lua_files(), ids=name_of)
def test_lua_gets_the_vocabulary_from_python(path: Path) -> None:
    faults = [f"{name_of(path)}:{line}: {fault}" for line, fault in lua_faults(path.read_text())]
    assert faults == []


def test_there_is_something_to_look_at() -> None:
    assert len(python_files()) > 100
    assert len(lua_files()) == 6


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("KEY = 'consumer:offsets'", KEYS),
        ("key = f'image:{image_id}:total_views'", KEYS),
        ("scan('image:*')", KEYS),
        ("key = 'image:%s:metadata' % image_id", KEYS),
        ("NAMES = ('5min', '1hr')", WINDOWS),
        ("WIDTH = 300 * SECOND_US", WINDOWS),
        ("WIDTH = 3_600_000_000", WINDOWS),
        ("TTL = 30 * 24 * 3600", WINDOWS),
        ("redis.set(key, value, ex=3600)", WINDOWS),
        ("IDLE_TTL_S: Final = {'a': 7_200}", WINDOWS),
        ("VALUES = (10, 100, 1000)", WINDOWS),
        ("class S:\n    viral_threshold_views_5min: int = 100", WINDOWS),
    ],
)
def test_a_second_definition_in_python_is_found(source: str, expected: str) -> None:
    found = list(python_faults(source))
    assert found
    assert all(expected in fault for _, fault in found)


@pytest.mark.parametrize(
    "source",
    [
        "'''The key image:x:total.'''",
        "WIDTH = HOUR_US",
        "width = WINDOW_US['5min']",
        "log.info('%s of image: %d')",
        "wait(60)",
        "RETENTION_S = 30 * 24 * 3600",
        "idle_ttl = IDLE_TTL_S",
        "s = 'my-image:latest'",
    ],
)
def test_other_texts_and_numbers_in_python_are_let_alone(source: str) -> None:
    assert list(python_faults(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "local OFFSETS = 'consumer:offsets'",
        "local key = 'image:' .. image",
        "redis.call('EXPIRE', key, 2592000)",
        "local WINDOW_US = { ['5min'] = 5 }",
        "if kind == 'views' then reach() end",
    ],
)
def test_a_second_definition_in_lua_is_found(source: str) -> None:
    assert list(lua_faults(source))


@pytest.mark.parametrize("source", ["-- until the year 2255, 'image:x'", "return us / 1000000", "local CHUNK = 2000"])
def test_other_texts_and_numbers_in_lua_are_let_alone(source: str) -> None:
    assert list(lua_faults(source)) == []
