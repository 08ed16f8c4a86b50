"""The allow-list of classes: what a model needs is read, everything else is refused before it is called."""

import functools
import io
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.numpy_pickle import NumpyArrayWrapper
from numpy._core.multiarray import _reconstruct
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import Pipeline

from gourmetgram.models.unpickling import ForbiddenClassError, load_artifact
from gourmetgram.training.trainer import category_encoder
from tests.support.models import pickled, train


class Call:
    """Unpickles as the result of a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("xz", 3)])
@pytest.mark.parametrize("protocol", [4, 5])
def test_the_objects_of_a_model_come_back_equal(compress: Any, protocol: int) -> None:
    model, scaler, encoder = train()
    rows, names = np.ones((3, 29), np.float32), np.array([["Bread"], ["Stone"]], object)

    def again(value: object) -> Any:
        file = io.BytesIO()
        joblib.dump(value, file, compress=compress, protocol=protocol)
        return load_artifact(file.getvalue())

    np.testing.assert_array_equal(again(model).predict_proba(rows), model.predict_proba(rows))
    np.testing.assert_array_equal(again(scaler).transform(rows[:, :18]), scaler.transform(rows[:, :18]))
    np.testing.assert_array_equal(again(encoder).transform(names), encoder.transform(names))
    np.testing.assert_array_equal(again(category_encoder()).transform(names), encoder.transform(names))


def test_a_model_that_was_trained_in_batches_comes_back_equal() -> None:
    model = SGDClassifier(loss="log_loss", random_state=42)
    for _ in range(3):
        model.partial_fit(np.eye(29, dtype=np.float32), np.arange(29) % 2, classes=[0, 1])
    rows = np.ones((3, 29), np.float32)
    np.testing.assert_array_equal(load_artifact(pickled(model)).predict_proba(rows), model.predict_proba(rows))


def attacks(proof: str) -> dict[str, Any]:
    """Objects that make a folder when joblib loads them."""
    bomb = Call(os.mkdir, proof)
    return {
        "a call": bomb,
        "a call inside a list": [1, {"a": bomb}],
        "a call inside an array of objects": np.array([bomb, "text"], dtype=object),
        "an array of objects inside a model": Call(SGDClassifier, state={"coef_": np.array([bomb], dtype=object)}),
        "a partial": Call(functools.partial(os.mkdir, proof)),
        "an object scalar": Call(np.dtype, "O", state=(3, "|", None, None, None, -1, -1, bomb)),
        "the state of an array": Call(
            _reconstruct, np.ndarray, (0,), b"b", state=(1, (1,), np.dtype("O"), False, [bomb])
        ),
        "an attribute of a module": Call(getattr, "", "format"),
        "a placeholder": Call(NumpyArrayWrapper, np.ndarray, (1,), "C", np.dtype("f8"), state={"read": bomb}),
    }


@pytest.mark.parametrize("name", attacks(""))
def test_a_call_hidden_anywhere_is_not_made(name: str, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    content = pickled(attacks(str(proof))[name])
    with pytest.raises(ForbiddenClassError, match=r"posix.mkdir|builtins.getattr|functools.partial"):
        load_artifact(content)
    assert not proof.exists()


def text(module: str, name: str, rest: bytes = b".") -> bytes:
    """A pickle that names something, written by hand."""
    return f"c{module}\n{name}\n".encode() + rest


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (text("os", "system", b"(S'true'\ntR."), "os.system"),
        (text("builtins", "eval", b"(S'1'\ntR."), "builtins.eval"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (text("sklearn.linear_model._stochastic_gradient", "SGDClassifier.fit"), "SGDClassifier.fit"),
        (text("joblib.numpy_pickle_compat", "NDArrayWrapper"), "NDArrayWrapper"),
        (text("joblib.numpy_pickle_compat", "ZNDArrayWrapper"), "ZNDArrayWrapper"),
        (text("numpy", "memmap"), "numpy.memmap"),
        (text("numpy", "load"), "numpy.load"),
        (pickled(Pipeline([("model", SGDClassifier())])), "sklearn.pipeline.Pipeline"),
        (pickle.dumps(np.random.default_rng(0)), "numpy.random"),
    ],
    # Bytes of a pickle may differ from process to process, and the workers of a run must agree on a test's name.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_refusal_names_the_class_in_one_line(content: bytes, named: str) -> None:
    with pytest.raises(ForbiddenClassError, match=named) as refused:
        load_artifact(content)
    assert "\n" not in str(refused.value)


def test_a_file_changes_no_class() -> None:
    """`BUILD` on a class would set attributes for the whole process."""
    state = b"(N(dS'read_array'\ncnumpy\ndtype\nstb."
    before = NumpyArrayWrapper.read_array
    for module, name in [("joblib.numpy_pickle", "NumpyArrayWrapper"), ("numpy._core.multiarray", "_reconstruct")]:
        with pytest.raises(ForbiddenClassError, match="attributes of"):
            load_artifact(text(module, name, state))
    assert NumpyArrayWrapper.read_array is before


def test_a_data_type_that_hides_its_objects_is_refused() -> None:
    """Numpy would take eight bytes of the file for the address of an object."""
    liar = Call(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))
    with pytest.raises(ForbiddenClassError, match="data type"):
        load_artifact(pickle.dumps(liar))
    state = {"subclass": np.ndarray, "shape": (1,), "order": "C", "dtype": liar, "numpy_array_alignment_bytes": None}
    with pytest.raises(ForbiddenClassError, match="data type"):
        load_artifact(pickle.dumps(Call(NumpyArrayWrapper, np.ndarray, (1,), "C", liar, state=state)) + b"\x10" * 64)


def test_a_compressed_file_may_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gourmetgram.models.unpickling.MAX_BYTES", 100_000)
    file = io.BytesIO()
    joblib.dump(np.zeros(100_000), file, compress=9)
    with pytest.raises(pickle.UnpicklingError, match="larger than 100000 bytes"):
        load_artifact(file.getvalue())
