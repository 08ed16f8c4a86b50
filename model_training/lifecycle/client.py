"""MLflow's client with its two flavours, without the warnings that its own modules give of themselves.

    from model_training.lifecycle.client import mlflow, without_own_warnings

The module imports nothing of the platform, because wrapped models carry it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    # MLflow 3.17 warns of a type hint in its own classes while it is imported.
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
    import mlflow
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.pyfunc.model import PythonModel, PythonModelContext

__all__ = ["PythonModel", "PythonModelContext", "mlflow", "without_own_warnings"]


@contextmanager
def without_own_warnings() -> Iterator[None]:
    """Silence what MLflow does in an outdated way itself while it logs a model with an example."""
    with warnings.catch_warnings():
        # The columns of the example are compared with a range, which pandas 4 will treat in another way.
        warnings.filterwarnings("ignore", message="Operation with range is deprecated", module=r"mlflow\.")
        yield
