"""MLflow's client with its two flavours, imported without the warning that its own modules give.

    from model_training.lifecycle.client import mlflow

The module imports nothing of the platform, because wrapped models carry it.
"""

import warnings

with warnings.catch_warnings():
    # MLflow 3.17 warns of a type hint in its own classes while it is imported.
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
    import mlflow
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.pyfunc.model import PythonModel, PythonModelContext

__all__ = ["PythonModel", "PythonModelContext", "mlflow"]
