"""Source of a dataset in MLflow: an Iceberg table as of a snapshot, and one side of its split.

MLflow imports this module through the entry point `mlflow.dataset_source`, in every program that imports `mlflow`.
So it imports the platform's libraries only when rows are read.
"""

import hashlib
from typing import TYPE_CHECKING, Any, Final, Self

from mlflow.data.dataset_source import DatasetSource

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

SOURCE_TYPE: Final = "gourmetgram-iceberg"


class IcebergDatasetSource(DatasetSource):
    """Rows of a snapshot of an Iceberg table in the platform's catalog.

    Args:
        table: name of the table, with its namespace.
        snapshot_id: the snapshot.
        columns: names of the columns, in order.
        split: the side of the split and all that makes it, see `gourmetgram.training.split.Split`; None = all rows.
    """

    def __init__(self, table: str, snapshot_id: str, columns: list[str], split: dict[str, Any] | None = None) -> None:
        self.table = table
        self.snapshot_id = snapshot_id
        self.columns = columns
        self.split = split

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    def load(self) -> "pd.DataFrame":
        """Exactly the rows of the snapshot, and of the side of the split, as a pandas data frame.

        The variables of the platform (PYICEBERG_CATALOG__GOURMETGRAM__…) tell where the catalog is.

        Raises:
            PermanentError: the table or the snapshot does not exist (any more).
            TransientError: the catalog or the object store is away.
        """
        from model_training.lifecycle.data import read_source

        return read_source(self)

    @property
    def digest(self) -> str:
        """Text of at most 36 characters that is the same for the same rows only, and begins with the snapshot."""
        return f"{self.snapshot_id}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:12]}"

    @staticmethod
    def _can_resolve(raw_source: object) -> bool:
        # No text stands for such a source: it is always made as an object.
        return False

    @classmethod
    def _resolve(cls, raw_source: object) -> "IcebergDatasetSource":
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Document that MLflow stores with the run."""
        return {
            "table": self.table,
            "snapshot_id": self.snapshot_id,
            "columns": self.columns,
            "split": self.split,
        }

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """The source of a stored document."""
        return cls(**source_dict)
