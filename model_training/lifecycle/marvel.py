"""Rows of the example project: made-up characters of comics, and the two Iceberg tables that hold them.

The rows are drawn from random numbers with a fixed seed, so they are the same on every machine. Being alive depends on
universe, identity, origin, team, magic and weight, plus chance: a model can learn it, and cannot learn it completely.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DoubleType, LongType, NestedField, StringType
from sqlalchemy.exc import IntegrityError

from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages
from gourmetgram.lakehouse.schemas import PROPERTIES, arrow_schema

NAMESPACE: Final = "marvel_characters"
TRAIN_TABLE: Final = f"{NAMESPACE}.train_set"
TEST_TABLE: Final = f"{NAMESPACE}.test_set"
HOW_TO_WRITE: Final = "Write the rows of the example with write_marvel_tables of model_training.lifecycle.marvel."

ROWS: Final = 5_000
TEST_SHARE: Final = 0.2
SEED: Final = 42
CONTENT: Final = "gourmetgram.content"
"""Property of a snapshot: digest of the rows it holds."""

_ATTEMPTS: Final = 5

_CHOICES: Final[dict[str, dict[str, float]]] = {
    "Universe": {"Earth-1": 0.55, "Earth-2": 0.2, "Earth-7": 0.15, "Earth-19": 0.1},
    "Identity": {"Secret": 0.45, "Public": 0.4, "Unknown": 0.15},
    "Gender": {"Male": 0.55, "Female": 0.4, "Other": 0.05},
    "Marital_Status": {"Single": 0.6, "Married": 0.25, "Widowed": 0.08, "Divorced": 0.07},
    "Teams": {"no": 0.6, "yes": 0.4},
    "Origin": {"Human": 0.5, "Mutation": 0.2, "Alien": 0.12, "Robot": 0.08, "Deity": 0.1},
    "Magic": {"no": 0.8, "yes": 0.2},
}
"""Values of each text column with their shares; Mutant follows from Origin."""

_EFFECTS: Final[dict[str, dict[str, float]]] = {
    "Universe": {"Earth-1": 0.9, "Earth-2": -0.3, "Earth-7": -1.6, "Earth-19": -2.4},
    "Identity": {"Secret": 0.5, "Public": -0.2, "Unknown": -0.6},
    "Marital_Status": {"Widowed": -0.7},
    "Origin": {"Deity": 1.8, "Robot": 0.8, "Alien": -0.5},
    "Teams": {"yes": 0.7},
    "Magic": {"yes": 1.1},
}
"""Summands of the log-odds of being alive; other values add nothing."""

_COLUMNS: Final = ("Height", "Weight", *_CHOICES, "Mutant", "Alive")
_TYPES: Final = {"Height": DoubleType(), "Weight": DoubleType(), "Alive": LongType()}
SCHEMA: Final = Schema(
    *(NestedField(number, name, _TYPES.get(name, StringType())) for number, name in enumerate(_COLUMNS, start=1))
)


def write_marvel_tables(catalog: Catalog) -> None:
    """Write both tables; a table that has these rows already stays as it is, with its snapshot.

    Raises:
        TransientError: the catalog or the object store is away, or other writers changed a table again and again.
    """
    train, test = marvel_rows()
    with named_outages(f"the tables of {NAMESPACE} could not be written"):
        # Raised when another process created it between the check and the insertion.
        with suppress(IntegrityError, NamespaceAlreadyExistsError):
            catalog.create_namespace_if_not_exists(NAMESPACE)
        for name, rows in ((TRAIN_TABLE, train), (TEST_TABLE, test)):
            _write(catalog, name, rows)


def marvel_rows(rows: int = ROWS, seed: int = SEED) -> tuple[pa.Table, pa.Table]:
    """Training rows and test rows; the same for the same seed."""
    random = np.random.default_rng(seed)
    texts = {name: random.choice(list(shares), size=rows, p=list(shares.values())) for name, shares in _CHOICES.items()}
    texts["Mutant"] = np.where(texts["Origin"] == "Mutation", "yes", "no")
    height = np.round(random.normal(np.where(texts["Gender"] == "Female", 1.71, 1.83), 0.12), 2)
    weight = np.round(np.maximum(24 * height**2 + random.normal(0, 14, rows), 35), 1)
    odds = 0.2 - 0.02 * np.abs(weight - 78) + random.normal(0, 0.5, rows)
    for name, effects in _EFFECTS.items():
        odds = odds + np.array([effects.get(text, 0.0) for text in texts[name].tolist()])
    alive = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    table = _arrow({"Height": height, "Weight": weight, **texts, "Alive": alive})
    train = rows - round(rows * TEST_SHARE)
    return table.slice(0, train), table.slice(train)


def _arrow(columns: dict[str, NDArray[np.generic]]) -> pa.Table:
    schema = arrow_schema(SCHEMA)
    return pa.Table.from_arrays([pa.array(columns[name].tolist()) for name in _COLUMNS], schema=schema)


def _write(catalog: Catalog, name: str, rows: pa.Table) -> None:
    digest = content_digest(rows)
    for attempt in range(1, _ATTEMPTS + 1):
        with suppress(TableAlreadyExistsError):
            catalog.create_table(name, SCHEMA, properties=PROPERTIES)
        table = catalog.load_table(name)
        if stored_digest(table) == digest:
            return
        try:
            with named_outages(f"{name} could not be written"):
                if table.current_snapshot() is None:
                    table.append(rows, snapshot_properties={CONTENT: digest})
                else:
                    table.overwrite(rows, snapshot_properties={CONTENT: digest})
        except ChangedMeanwhileError:
            # The other writer has probably written the same rows.
            if attempt == _ATTEMPTS:
                raise


def content_digest(rows: pa.Table) -> str:
    """Digest of rows: equal for equal values in equal order."""
    values: Sequence[object] = rows.to_pylist()
    return hashlib.sha256(repr(values).encode()).hexdigest()


def stored_digest(table: Table) -> str | None:
    """Digest of the rows of the newest snapshot; None when another program wrote it."""
    snapshot = table.current_snapshot()
    if snapshot is None or snapshot.summary is None:
        return None
    return snapshot.summary.additional_properties.get(CONTENT)
