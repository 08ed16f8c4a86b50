"""Conversion of a fitted LightGBM pipeline into the arrays that the scorer serves."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from gourmetgram.errors import PermanentError
from gourmetgram.features.definition import CATEGORIES, NUMERIC_FEATURES, UNKNOWN_CATEGORY
from gourmetgram.models.trees import CATEGORY_INPUT, NO_NODE, TreeEnsemble, TreeError

OBJECTIVE: Final = "binary sigmoid:1"
"""The only objective whose sum of leaf values is the log-odds of class 1."""

_MISSING_TYPES: Final = {"None", "NaN"}
"""Rules for missing values that never act on a finite number. `Zero` would treat each 0 as missing."""
_PROBE: Final = 1_000.0


class UnservableModelError(PermanentError):
    """The model cannot be served as plain trees; the text gives the reason."""


class _Preprocessing(NamedTuple):
    """Output of the pipeline's preprocessor, in terms of `TreeEnsemble`.

    Attributes:
        inputs: for each of its output columns the input of `TreeEnsemble`: 0-17 a numeric feature, 18 the code.
        codes: code of each of the eleven categories, and of `Unknown`.
    """

    inputs: NDArray[np.int32]
    codes: NDArray[np.int32]


class _Node(NamedTuple):
    """One node, in the order in which a tree is walked; a parent comes before its children."""

    feature: int
    threshold: float
    value: float


def tree_ensemble(pipeline: Pipeline) -> TreeEnsemble:
    """The trees of a fitted pipeline with the steps `preprocessor` and `regressor` (an `LGBMClassifier`).

    Raises:
        UnservableModelError: the booster has something else than comparisons of numbers with thresholds, its classes
            are not 0 and 1, or the preprocessor changes a numeric feature.
    """
    classifier: LGBMClassifier = pipeline.named_steps["regressor"]
    if classifier.classes_.tolist() != [0, 1]:
        raise UnservableModelError(
            f"The model's classes are {classifier.classes_.tolist()}: only 0 and 1 can be served."
        )
    preprocessing = _preprocessing_of(pipeline.named_steps["preprocessor"])
    return convert(classifier.booster_.dump_model(), preprocessing.inputs, preprocessing.codes)


def convert(dump: Mapping[str, Any], inputs: NDArray[np.int32], codes: NDArray[np.int32]) -> TreeEnsemble:
    """The trees of a booster.

    Args:
        dump: output of LightGBM's `dump_model`. Thresholds and leaf values in it are exact.
        inputs: input of `TreeEnsemble` for each column of the booster.
        codes: code of each of the eleven categories, and of `Unknown`.

    Raises:
        UnservableModelError: see `tree_ensemble`.
    """
    if dump["objective"] != OBJECTIVE or dump["num_tree_per_iteration"] != 1 or dump["average_output"]:
        raise UnservableModelError(
            f"The booster has the objective '{dump['objective']}' with {dump['num_tree_per_iteration']} trees an "
            f"iteration{' and averages them' if dump['average_output'] else ''}: only '{OBJECTIVE}' can be served."
        )
    nodes: list[_Node] = []
    left: list[int] = []
    right: list[int] = []
    roots: list[int] = []
    for tree in dump["tree_info"]:
        roots.append(len(nodes))
        _walk(tree["tree_structure"], inputs, nodes, left, right)
    feature, threshold, value = zip(*nodes, strict=True) if nodes else ((), (), ())
    try:
        return TreeEnsemble(
            feature=np.array(feature, dtype=np.int32),
            threshold=np.array(threshold, dtype=np.float64),
            left=np.array(left, dtype=np.int32),
            right=np.array(right, dtype=np.int32),
            value=np.array(value, dtype=np.float64),
            roots=np.array(roots, dtype=np.int32),
            category_codes=codes,
        )
    except TreeError as error:
        raise UnservableModelError(f"The booster's trees cannot be served: {error}.") from error


def _walk(
    root: Mapping[str, Any], inputs: NDArray[np.int32], nodes: list[_Node], left: list[int], right: list[int]
) -> None:
    """Append the nodes of one tree to the lists, a parent before its children."""
    waiting: list[tuple[Mapping[str, Any], list[int] | None, int]] = [(root, None, 0)]
    while waiting:
        node, side, parent = waiting.pop()
        if side is not None:
            side[parent] = len(nodes)
        number = len(nodes)
        nodes.append(_converted(node, inputs))
        left.append(NO_NODE)
        right.append(NO_NODE)
        if nodes[-1].feature != NO_NODE:
            waiting += [(node["right_child"], right, number), (node["left_child"], left, number)]


def _converted(node: Mapping[str, Any], inputs: NDArray[np.int32]) -> _Node:
    if "split_feature" not in node:
        if "leaf_coeff" in node:
            raise UnservableModelError("The booster has linear models in its leaves: train with linear_tree=False.")
        return _Node(NO_NODE, 0.0, float(node["leaf_value"]))
    if node["decision_type"] != "<=":
        raise UnservableModelError(
            f"The booster has a split of the type '{node['decision_type']}', on a categorical column: "
            "give the category as a plain number."
        )
    if node["missing_type"] not in _MISSING_TYPES:
        raise UnservableModelError(
            f"The booster has a split that treats {node['missing_type'].lower()} as missing: train with "
            "zero_as_missing=False."
        )
    return _Node(int(inputs[node["split_feature"]]), float(node["threshold"]), 0.0)


def _preprocessing_of(preprocessor: Any) -> _Preprocessing:  # noqa: ANN401 - any fitted transformer of a data frame
    """Find out by a trial which column comes from where: names of parts and their order are the pipeline's own."""
    numbers = {name: [_PROBE + number] * (len(CATEGORIES) + 1) for number, name in enumerate(NUMERIC_FEATURES)}
    trial = pd.DataFrame({"category": [*CATEGORIES, UNKNOWN_CATEGORY], **numbers})
    columns = np.asarray(preprocessor.transform(trial), dtype=np.float64).T
    if len(columns) != CATEGORY_INPUT + 1:
        raise UnservableModelError(
            f"The model reads {len(columns)} columns, not {CATEGORY_INPUT} numeric features and the category: "
            "train it with the features of this platform."
        )
    sources = list(_sources(columns))
    if sorted(sources) != list(range(CATEGORY_INPUT + 1)):
        raise UnservableModelError("The model's preprocessor changes or repeats a numeric feature: pass them through.")
    codes = columns[sources.index(CATEGORY_INPUT)]
    if not np.array_equal(codes, np.round(codes)):
        raise UnservableModelError("The model's codes of the categories are no whole numbers: use CatToIntTransformer.")
    return _Preprocessing(np.array(sources, dtype=np.int32), codes.astype(np.int32))


def _sources(columns: NDArray[np.float64]) -> Iterator[int]:
    for column in columns:
        number = int(column[0] - _PROBE)
        unchanged = 0 <= number < CATEGORY_INPUT and (column == _PROBE + number).all()
        yield number if unchanged else CATEGORY_INPUT
