"""A type name has one meaning: it is defined once in the platform's code."""

import ast
from collections import defaultdict

from tests.support.sources import parse, source_files


def _aliases(node: ast.stmt) -> list[str]:
    """Names that a statement gives to a type, such as `Row = dict[str, int]` or `Row: TypeAlias = ...`."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id] if "TypeAlias" in ast.unparse(node.annotation) else []
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return [name for name in names if name[0].isupper() and not name.isupper()]
    return []


def _defined(tree: ast.Module) -> set[str]:
    """Classes and type aliases of a module's top level, without private ones."""
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    names |= {name for node in tree.body for name in _aliases(node)}
    return {name for name in names if not name.startswith("_")}


def test_every_type_name_is_defined_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in source_files():
        for name in _defined(parse(path)):
            places[name].append(str(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
