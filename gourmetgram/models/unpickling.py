"""Reading pickled artifacts without running code from the file.

A pickle may name any Python function and have it called. The list of this module holds all names that a model of this
platform needs; a file that names another one is refused before any call. Reasons for a list instead of another format:
docs/decisions/model-allow-list.md.
"""

import io
import pickle
from math import prod
from typing import Any, Final

import numpy as np
from joblib.numpy_pickle import NumpyArrayWrapper
from joblib.numpy_pickle_utils import _validate_fileobject_and_memmap
from numpy._core.multiarray import _reconstruct, scalar
from sklearn._loss._loss import CyHalfBinomialLoss
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gourmetgram.models.trees import TreeEnsemble

MAX_BYTES: Final = 32 * 1024 * 1024
"""Largest size of an artifact once decompressed, bytes."""

_PythonUnpickler: Final = pickle._Unpickler  # the Python version: its steps can be replaced


class ForbiddenClassError(pickle.UnpicklingError):
    """A file asks for a class or function that no model of this platform needs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it asks for {name}, which no model of this platform needs; nothing was loaded")


_ALLOWED: Final[dict[tuple[str, str], object]] = {
    ("gourmetgram.models.trees", "TreeEnsemble"): TreeEnsemble,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): NumpyArrayWrapper,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "float64"): np.float64,
    # Its places in numpy 2 and numpy 1.
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("sklearn._loss._loss", "CyHalfBinomialLoss"): CyHalfBinomialLoss,
    ("sklearn.linear_model._stochastic_gradient", "SGDClassifier"): SGDClassifier,
    ("sklearn.preprocessing._data", "StandardScaler"): StandardScaler,
    ("sklearn.preprocessing._encoders", "OneHotEncoder"): OneHotEncoder,
}
"""Names that a file may use, each with its object."""

_WITH_STATE: Final = (
    *(NumpyArrayWrapper, np.dtype, np.ndarray),
    *(SGDClassifier, StandardScaler, OneHotEncoder, TreeEnsemble),
)
"""Types whose objects may get attributes from a file. Classes and functions are not among them."""


def load_artifact(content: bytes) -> Any:  # noqa: ANN401 - the caller finds out what it is
    """The object in a `.joblib` file.

    Args:
        content: content of the file, compressed by joblib or not.

    Raises:
        ForbiddenClassError: the file asks for a name that is not on the list. None of it was called.
        Exception: the file is damaged; a damaged pickle may raise anything.
    """
    return _Unpickler(_decompressed(content)).load()


def _decompressed(content: bytes) -> io.BytesIO:
    with _validate_fileobject_and_memmap(io.BytesIO(content), "") as (file, _):
        if isinstance(file, str):
            raise pickle.UnpicklingError("it is in the format of a joblib older than 0.10")
        plain = file.read(MAX_BYTES + 1)
    if len(plain) > MAX_BYTES:
        raise pickle.UnpicklingError(f"it is larger than {MAX_BYTES} bytes")
    return io.BytesIO(plain)


class _Restricted(_PythonUnpickler):  # type: ignore[misc, valid-type] # private, and made for this
    """Resolves only names on the list, and sets attributes only of objects."""

    dispatch = _PythonUnpickler.dispatch.copy()

    def find_class(self, module: str, name: str) -> object:
        """The object of a name on the list. Names are never imported."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ForbiddenClassError(f"{module}.{name}") from None

    def load_build(self) -> None:
        """Set the attributes of the newest object."""
        target = self.stack[-2]
        if not isinstance(target, _WITH_STATE):
            raise ForbiddenClassError(f"attributes of {target!r}"[:100])
        super().load_build()
        if isinstance(target, np.dtype):
            _require_honest(target)

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]


class _Unpickler(_Restricted):
    """Reads a joblib file: a pickle in which the bytes of each array follow a placeholder."""

    dispatch = _Restricted.dispatch.copy()

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # The two attributes that joblib's code for arrays uses.
        self.file_handle, self.np = file, np

    def load_build(self) -> None:
        """Set the attributes of the newest object, and replace a placeholder by its array."""
        super().load_build()
        if isinstance(self.stack[-1], NumpyArrayWrapper):
            self.stack[-1] = self._array(self.stack[-1])

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]

    def _array(self, placeholder: NumpyArrayWrapper) -> object:
        dtype = placeholder.dtype
        _require_honest(dtype)
        if dtype.hasobject:
            # An array of texts is a pickle of its own. Some versions of joblib read it with a plain `pickle.load`.
            return _Restricted(self.file_handle).load()
        if prod(placeholder.shape) * dtype.itemsize > MAX_BYTES:
            raise pickle.UnpicklingError(
                f"it has an array of the shape {placeholder.shape}, larger than the file"[:150]
            )
        # A new placeholder: the file may have changed the methods of its own.
        fresh = NumpyArrayWrapper(
            np.ndarray,
            placeholder.shape,
            placeholder.order,
            dtype,
            numpy_array_alignment_bytes=vars(placeholder).get("numpy_array_alignment_bytes"),
        )
        return fresh.read_array(self, ensure_native_byte_order=True)


def _require_honest(dtype: object) -> None:
    """Refuse a data type without a description of its content: numpy would take bytes of the file for addresses."""
    if not isinstance(dtype, np.dtype):
        raise ForbiddenClassError("an array without a data type")
    plain = np.dtype(dtype.str)
    if (dtype.flags, dtype.itemsize, dtype.num) != (plain.flags, plain.itemsize, plain.num) or dtype.fields:
        raise ForbiddenClassError(f"an array of the data type {dtype!r}")
