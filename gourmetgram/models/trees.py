"""Gradient-boosted trees as plain arrays: the served form of a LightGBM model, without LightGBM in the scorer.

Reasons for a class of our own: docs/decisions/serving-trees.md.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES

MAX_NODES: Final = 2_000_000
MAX_TREES: Final = 10_000
MAX_DEPTH: Final = 64
"""Limits far above a model of this platform (1,000 trees of depth 6): they bound memory and time of one prediction."""

NO_NODE: Final = -1
"""In `left`, `right` and `feature` of a leaf."""
UNSEEN_CODE: Final = -1
"""Code of a category that the training rows did not have."""
CATEGORY_INPUT: Final = len(NUMERIC_FEATURES)
"""Number of the category's code among the inputs of a node: 0-17 are the numeric features, 18 is the code."""

_INPUTS: Final = CATEGORY_INPUT + 1
_CODES: Final = len(CATEGORIES) + 1
_KINDS: Final = {
    "feature": np.dtype(np.int32),
    "threshold": np.dtype(np.float64),
    "left": np.dtype(np.int32),
    "right": np.dtype(np.int32),
    "value": np.dtype(np.float64),
    "roots": np.dtype(np.int32),
    "category_codes": np.dtype(np.int32),
}
"""The arrays of a model, each with its type."""
_OF_NODES: Final = ("feature", "threshold", "left", "right", "value")
# So many positions fit into a core's cache: more rows at a time are slower, not faster.
_POSITIONS_AT_ONCE: Final = 32_768


class TreeError(ValueError):
    """The arrays are no forest of trees; the text gives the reason."""


class TreeEnsemble:
    """A classifier of the classes 0 and 1: the logistic function of a sum of leaf values, one leaf from each tree.

    A node compares one input with its threshold: a value <= threshold goes left. The children of a node have higher
    numbers than the node, and each node has one parent, so each walk ends.

    Args:
        feature: input of each node, shape (nodes,): 0 to 17 a numeric feature, 18 the category's code, -1 a leaf.
        threshold: threshold of each node, shape (nodes,); 0 in a leaf.
        left: number of the left child, shape (nodes,); -1 in a leaf.
        right: number of the right child, likewise.
        value: value of each leaf, in log-odds, shape (nodes,); 0 in an inner node.
        roots: number of each tree's root, shape (trees,).
        category_codes: code of each of the eleven categories and of none of them (`Unknown`), shape (12,); -1 for one
            that the training rows did not have.

    Raises:
        TreeError: the arrays are no forest of trees, or larger than the limits of this module.
    """

    def __init__(
        self,
        *,
        feature: NDArray[np.int32],
        threshold: NDArray[np.float64],
        left: NDArray[np.int32],
        right: NDArray[np.int32],
        value: NDArray[np.float64],
        roots: NDArray[np.int32],
        category_codes: NDArray[np.int32],
    ) -> None:
        given = (feature, threshold, left, right, value, roots, category_codes)
        self.__setstate__(dict(zip(_KINDS, given, strict=True)))

    def __getstate__(self) -> dict[str, NDArray[Any]]:
        """The seven arrays; all else is derived from them."""
        return dict(self._arrays)

    def __setstate__(self, state: object) -> None:
        """Check the arrays of a file, and take copies of them.

        A file may change an array after it was handed over, but never a copy.

        Raises:
            TreeError: see the class.
        """
        arrays = _copies(state)
        inner = _check_nodes(arrays)
        self.depth = _depth(arrays, inner)
        self._arrays = arrays
        self.classes_: NDArray[np.int64] = np.array([0, 1])
        numbers = np.arange(len(inner))
        # A leaf leads to itself, so all trees take the same number of steps. Indices of numpy's own type save a cast.
        self._feature = np.where(inner, arrays["feature"], 0).astype(np.intp)
        self._threshold = arrays["threshold"]
        children = np.stack([arrays["left"], arrays["right"]], axis=1)
        self._children = np.where(inner[:, None], children, numbers[:, None]).astype(np.intp).ravel()
        self._value = arrays["value"]
        self._roots = arrays["roots"].astype(np.intp)
        self._unknown = float(arrays["category_codes"][-1])
        self._code_offsets = arrays["category_codes"][:-1] - self._unknown

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self._roots)

    @property
    def nodes(self) -> int:
        """Number of nodes of all trees, leaves included."""
        return len(self._feature)

    def predict_proba(self, columns: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The probability of both classes, shape (rows, 2).

        Args:
            columns: the 29 features as they are, not scaled, shape (rows, 29).

        Raises:
            ValueError: the columns have another shape.
        """
        if columns.ndim != 2 or columns.shape[1] != len(FEATURE_NAMES):
            raise ValueError(f"the columns have the shape {columns.shape}, not (rows, {len(FEATURE_NAMES)})")
        at_once = max(_POSITIONS_AT_ONCE // self.trees, 1)
        if len(columns) <= at_once:
            odds = self._log_odds(columns)
        else:
            parts = range(0, len(columns), at_once)
            odds = np.concatenate([self._log_odds(columns[start : start + at_once]) for start in parts])
        with np.errstate(over="ignore"):  # exp(800) is infinite, and the probability 0
            flagged = 1.0 / (1.0 + np.exp(-odds))
        return np.stack([1.0 - flagged, flagged], axis=1)

    def _log_odds(self, columns: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        inputs = np.empty((len(columns), _INPUTS))
        inputs[:, :CATEGORY_INPUT] = columns[:, :CATEGORY_INPUT]
        # One of eleven columns is 1, or none: the sum is the code of that category, or the code of none of them.
        inputs[:, CATEGORY_INPUT] = columns[:, CATEGORY_INPUT:] @ self._code_offsets + self._unknown
        row_starts = np.arange(0, inputs.size, _INPUTS)[:, None]
        flat, nodes = inputs.ravel(), np.broadcast_to(self._roots, (len(columns), self.trees))
        for _ in range(self.depth):
            right = flat.take(self._feature.take(nodes) + row_starts) > self._threshold.take(nodes)
            nodes = self._children.take(2 * nodes + right)
        total: NDArray[np.float64] = self._value.take(nodes).sum(axis=1)
        return total


def _copies(state: object) -> dict[str, NDArray[Any]]:
    """Copies of the seven arrays, after a check of names, types and lengths."""
    if not isinstance(state, Mapping) or set(state) != set(_KINDS):
        raise TreeError("the trees do not consist of the arrays " + ", ".join(_KINDS))
    for name, kind in _KINDS.items():
        array = state[name]
        if type(array) is not np.ndarray or array.dtype != kind or array.ndim != 1:
            raise TreeError(f"'{name}' is no array of one dimension and the type {kind}")
    nodes, trees = len(state["feature"]), len(state["roots"])
    if not 1 <= nodes <= MAX_NODES or not 1 <= trees <= MAX_TREES:
        raise TreeError(f"{trees} trees with {nodes} nodes: allowed are 1 to {MAX_TREES}, and 1 to {MAX_NODES} nodes")
    for name in _OF_NODES:
        if len(state[name]) != nodes:
            raise TreeError(f"'{name}' has {len(state[name])} values for {nodes} nodes")
    if len(state["category_codes"]) != _CODES:
        raise TreeError(f"'category_codes' has {len(state['category_codes'])} values, not {_CODES}")
    return {name: state[name].astype(kind, copy=True) for name, kind in _KINDS.items()}


def _check_nodes(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Check values and indices. Returns True for each inner node, shape (nodes,)."""
    for name in ("threshold", "value"):
        if not np.isfinite(arrays[name]).all():
            raise TreeError(f"'{name}' has a value that is not finite")
    if arrays["category_codes"].min() < UNSEEN_CODE or arrays["category_codes"].max() > MAX_NODES:
        raise TreeError("'category_codes' has a code below -1, or one that is far too large")
    feature, left, right, roots = (arrays[name] for name in ("feature", "left", "right", "roots"))
    nodes = len(feature)
    inner: NDArray[np.bool_] = feature != NO_NODE
    if feature.min() < NO_NODE or feature.max() >= _INPUTS:
        raise TreeError(f"a node compares an input that does not exist (0 to {_INPUTS - 1} do)")
    if not ((left[~inner] == NO_NODE) & (right[~inner] == NO_NODE)).all():
        raise TreeError("a leaf has children")
    if roots.min() < 0 or roots.max() >= nodes or max(left.max(), right.max()) >= nodes:
        raise TreeError(f"a root or a child has a number outside of the {nodes} nodes")
    numbers = np.arange(nodes)
    if not ((left > numbers) & (right > numbers))[inner].all():
        raise TreeError("a child does not come after its parent: the walk might never end")
    parents = np.bincount(np.concatenate([left[inner], right[inner], roots]), minlength=nodes)
    if not (parents == 1).all():
        raise TreeError("a node has no parent, or more than one, or a root has one")
    return inner


def _depth(arrays: Mapping[str, NDArray[Any]], inner: NDArray[np.bool_]) -> int:
    """Steps from a root to the deepest leaf."""
    level = arrays["roots"][inner[arrays["roots"]]]
    for depth in range(MAX_DEPTH + 1):
        if not len(level):
            return depth
        below = np.concatenate([arrays["left"][level], arrays["right"][level]])
        level = below[inner[below]]
    raise TreeError(f"a tree is deeper than {MAX_DEPTH} steps")
