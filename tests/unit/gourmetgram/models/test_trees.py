"""Trees as arrays: the walk by hand, and every kind of file that is no forest."""

import hashlib
import io
import pickle
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import orjson
import pytest
from joblib.numpy_pickle import NumpyArrayWrapper

from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.models import trees
from gourmetgram.models.artifacts import load_model, parse_metadata
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.trees import CATEGORY_INPUT, MAX_DEPTH, TreeEnsemble, TreeError
from gourmetgram.models.unpickling import load_artifact
from tests.support.models import artifacts, pickled

VIEWS = FEATURE_NAMES.index("views_5min")
BREAD, SOUP = FEATURE_NAMES.index("category_Bread"), FEATURE_NAMES.index("category_Soup")
Arrays = dict[str, Any]


def two_trees() -> Arrays:
    """Views above 10.5 and then above 20 give 2 or 3, else -1; a category code of 4 or less gives 0.25, else 0.5."""
    i, f = np.int32, np.float64
    return {
        "feature": np.array([VIEWS, -1, VIEWS, -1, -1, CATEGORY_INPUT, -1, -1], i),
        "threshold": np.array([10.5, 0, 20, 0, 0, 4, 0, 0], f),
        "left": np.array([1, -1, 3, -1, -1, 6, -1, -1], i),
        "right": np.array([2, -1, 4, -1, -1, 7, -1, -1], i),
        "value": np.array([0, -1, 0, 2, 3, 0, 0.25, 0.5], f),
        "roots": np.array([0, 5], i),
        # Soup has the code 5, a vector without a category 3; Bread was not seen in training.
        "category_codes": np.array([-1, 0, 1, 2, 4, 6, 7, 8, 9, 5, 10, 3], i),
    }


def row(views: float, category: int | None = None) -> np.ndarray[Any, Any]:
    columns = np.zeros((1, 29), np.float32)
    columns[0, VIEWS] = views
    if category is not None:
        columns[0, category] = 1
    return columns


@pytest.mark.parametrize(
    ("columns", "odds"),
    [
        (row(10.5), -1 + 0.25),
        (row(11), 2 + 0.25),
        (row(20), 2 + 0.25),
        (row(21), 3 + 0.25),
        (row(0, BREAD), -1 + 0.25),
        (row(0, SOUP), -1 + 0.5),
    ],
)
def test_each_tree_adds_the_value_of_one_leaf(columns: np.ndarray[Any, Any], odds: float) -> None:
    ensemble = TreeEnsemble(**two_trees())
    assert (ensemble.trees, ensemble.nodes, ensemble.depth) == (2, 8, 2)
    probability = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(ensemble.predict_proba(columns), [[1 - probability, probability]], rtol=0, atol=1e-15)


def test_many_rows_give_the_same_as_single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_POSITIONS_AT_ONCE", 6)  # three rows at a time
    ensemble = TreeEnsemble(**two_trees())
    rows = np.vstack([row(views, SOUP if views % 2 else None) for views in range(31)])
    single = np.vstack([ensemble.predict_proba(rows[number : number + 1]) for number in range(31)])
    np.testing.assert_array_equal(ensemble.predict_proba(rows), single)
    assert ensemble.predict_proba(rows[:0]).shape == (0, 2)


def test_trees_that_are_one_leaf_have_no_steps() -> None:
    leaf = {name: array[:1] for name, array in two_trees().items() if name != "category_codes"}
    leaf |= {name: np.array([-1], np.int32) for name in ("feature", "left", "right")}
    ensemble = TreeEnsemble(**{**leaf, "value": np.array([800.0]), "category_codes": two_trees()["category_codes"]})
    assert ensemble.depth == 0
    assert ensemble.predict_proba(row(1)).tolist() == [[0.0, 1.0]]


def test_columns_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 28\), not \(rows, 29\)"):
        TreeEnsemble(**two_trees()).predict_proba(np.zeros((1, 28)))


@pytest.mark.parametrize("compress", [0, 3])
def test_an_ensemble_comes_back_equal_from_a_file(compress: int) -> None:
    file = io.BytesIO()
    joblib.dump(TreeEnsemble(**two_trees()), file, compress=compress)
    again = load_artifact(file.getvalue())
    assert type(again) is TreeEnsemble
    np.testing.assert_array_equal(again.predict_proba(row(11)), TreeEnsemble(**two_trees()).predict_proba(row(11)))
    assert list(again.classes_) == [0, 1]


def changed(name: str, place: int, value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def replaced(name: str, value: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = value

    return change


def chain(length: int) -> Arrays:
    """One tree in which each right child is an inner node again."""
    nodes = 2 * length + 1
    inner = np.arange(nodes) % 2 == 0
    inner[-1] = False
    numbers = np.arange(nodes)
    return {
        **two_trees(),
        "feature": np.where(inner, 0, -1).astype(np.int32),
        "threshold": np.zeros(nodes),
        "left": np.where(inner, numbers + 1, -1).astype(np.int32),
        "right": np.where(inner, numbers + 2, -1).astype(np.int32),
        "value": np.zeros(nodes),
        "roots": np.zeros(1, np.int32),
    }


def too_deep(arrays: Arrays) -> None:
    arrays.update(chain(MAX_DEPTH + 1))


INT, FLOAT = np.int32, np.float64
HOSTILE: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "a child outside": (changed("left", 0, 8), "number outside of the 8 nodes"),
    "a child far outside": (changed("right", 2, 2_000_000_000), "number outside of the 8 nodes"),
    "a negative child": (changed("left", 2, -5), "does not come after its parent"),
    "a root outside": (changed("roots", 1, 8), "number outside of the 8 nodes"),
    "a negative root": (changed("roots", 1, -1), "number outside of the 8 nodes"),
    "a cycle of one": (changed("right", 2, 2), "does not come after its parent"),
    "a cycle of two": (changed("right", 2, 0), "does not come after its parent"),
    "a child of two parents": (changed("right", 0, 1), "has no parent, or more than one"),
    "a root that is a child": (changed("roots", 1, 2), "has no parent, or more than one"),
    "an input that does not exist": (changed("feature", 0, 19), "an input that does not exist"),
    "a negative input": (changed("feature", 0, -2), "an input that does not exist"),
    "a leaf with children": (changed("left", 7, 7), "a leaf has children"),
    "an inner node without children": (changed("left", 5, -1), "does not come after its parent"),
    "an infinite threshold": (changed("threshold", 0, np.inf), "'threshold' has a value that is not finite"),
    "a value that is no number": (changed("value", 1, np.nan), "'value' has a value that is not finite"),
    "a code below -1": (changed("category_codes", 0, -2), "'category_codes' has a code below -1"),
    "too few codes": (replaced("category_codes", np.zeros(11, INT)), "'category_codes' has 11 values, not 12"),
    "a short array": (replaced("value", np.zeros(7)), "'value' has 7 values for 8 nodes"),
    "a long array": (replaced("threshold", np.zeros(9)), "'threshold' has 9 values for 8 nodes"),
    "no node": (replaced("feature", np.zeros(0, INT)), "2 trees with 0 nodes"),
    "no tree": (replaced("roots", np.zeros(0, INT)), "0 trees with 8 nodes"),
    "too many trees": (replaced("roots", np.zeros(10_001, INT)), "10001 trees with 8 nodes: allowed are 1 to 10000"),
    "too many nodes": (replaced("feature", np.zeros(2_000_001, np.int32)), "2 trees with 2000001 nodes"),
    "an array of objects": (replaced("value", np.array([0.0] * 8, object)), "'value' is no array of one dimension"),
    "another type": (replaced("left", np.zeros(8, np.int64)), "'left' is no array of one dimension and the type int32"),
    "texts": (replaced("feature", np.array(["0"] * 8)), "'feature' is no array of one dimension"),
    "two dimensions": (replaced("threshold", np.zeros((8, 1))), "'threshold' is no array of one dimension"),
    "a list": (replaced("roots", [0, 5]), "'roots' is no array of one dimension"),
    "a missing array": (lambda arrays: arrays.pop("roots"), "do not consist of the arrays"),
    "one array more": (replaced("more", np.zeros(1)), "do not consist of the arrays"),
    "a tree that is too deep": (too_deep, f"deeper than {MAX_DEPTH} steps"),
}


@pytest.fixture(name="file_of")
def file_of_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], bytes]:
    """A `.joblib` file of an ensemble with any state."""

    def file_of(state: Any) -> bytes:
        ensemble = TreeEnsemble(**two_trees())
        with monkeypatch.context() as patch:
            patch.setattr(TreeEnsemble, "__getstate__", lambda _self: state)
            return pickled(ensemble)

    return file_of


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_forest_is_refused_with_the_reason(name: str, file_of: Callable[[Any], bytes]) -> None:
    change, reason = HOSTILE[name]
    arrays = two_trees()
    change(arrays)
    with pytest.raises(TreeError, match=reason):
        load_artifact(file_of(arrays))


def test_the_deepest_tree_that_is_allowed_is_read() -> None:
    assert TreeEnsemble(**chain(MAX_DEPTH)).depth == MAX_DEPTH


@pytest.mark.parametrize(
    "state", [None, [1], {"classes_": 1}, ({}, {"depth": 1})], ids=["none", "list", "other", "slots"]
)
def test_a_model_without_its_arrays_is_refused(state: Any, file_of: Callable[[Any], bytes]) -> None:
    files = artifacts()
    files["model.joblib"] = file_of(state)
    document = orjson.loads(files["metadata.json"])
    document["sha256"]["model.joblib"] = hashlib.sha256(files["model.joblib"]).hexdigest()
    with pytest.raises(ArtifactError, match=r"model\.joblib cannot be read: TreeError|the model fails on a vector"):
        load_model(parse_metadata(orjson.dumps(document)), files)


def test_an_array_that_a_file_changes_after_the_check_changes_no_ensemble() -> None:
    """A pickle may set the state of an array again, after the ensemble took it."""
    arrays = two_trees()

    def opcodes(value: Any) -> bytes:
        return pickle.dumps(value, 3)[2:-1]  # without the version and the end

    rest = {name: value for name, value in arrays.items() if name != "left"}
    other = np.full(8, 7, np.int32).__reduce__()[2]
    content = b"".join(
        [
            *(b"\x80\x03", opcodes(arrays["left"]), b"q\xf0", b"0"),  # the array becomes number 240
            *(b"cgourmetgram.models.trees\nTreeEnsemble\n)\x81", b"q\xef"),  # the ensemble becomes number 239
            *(opcodes(rest), b"X\x04\x00\x00\x00left", b"h\xf0", b"s", b"b", b"0"),  # its state
            *(b"h\xf0", opcodes(other), b"b", b"0"),  # another state for the array
            *(b"h\xef", b"."),
        ]
    )
    ensemble = load_artifact(content)
    np.testing.assert_array_equal(ensemble.predict_proba(row(11)), TreeEnsemble(**two_trees()).predict_proba(row(11)))
    swapped = load_artifact(content[:-3] + b"h\xf0.")
    assert swapped.tolist() == [7] * 8


@pytest.mark.parametrize("shape", [(10**12,), (2**31, 2**31)])
def test_an_array_that_says_it_is_huge_is_refused_before_memory_is_taken(shape: tuple[int, ...]) -> None:
    class Huge:
        def __reduce__(self) -> tuple[Any, ...]:
            state = {
                "subclass": np.ndarray, "shape": shape, "order": "C", "dtype": np.dtype("f8"),
                "allow_mmap": False, "numpy_array_alignment_bytes": None,
            }  # fmt: skip
            return (NumpyArrayWrapper, (np.ndarray, shape, "C", np.dtype("f8")), state)

    with pytest.raises(pickle.UnpicklingError, match="larger than the file"):
        load_artifact(pickle.dumps(Huge(), 2))
