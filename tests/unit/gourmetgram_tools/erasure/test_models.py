"""Registered models are known by the snapshots that their runs name."""

import json
from types import SimpleNamespace
from typing import Any, Final

from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram_tools.erasure.models import registered_snapshots


class _Registry:
    """Two versions: one of the training table, with both sides of a split, and one of another table and program."""

    _SOURCES: Final = {
        "run-1": [json.dumps({"table": TRAINING_TABLE, "snapshot_id": "7", "split": {"side": side}}) for side in "ab"],
        "run-2": [json.dumps({"table": "marvel_characters.train_set", "snapshot_id": "8"}), "code.py", "[]"],
    }

    def search_model_versions(self) -> list[Any]:
        runs = [*self._SOURCES, None]
        return [SimpleNamespace(name="model", version=str(n), run_id=run) for n, run in enumerate(runs, start=1)]

    def get_run(self, run_id: str) -> Any:
        datasets = [SimpleNamespace(dataset=SimpleNamespace(source=source)) for source in self._SOURCES[run_id]]
        return SimpleNamespace(inputs=SimpleNamespace(dataset_inputs=datasets))


def test_a_registered_model_is_named_once_with_its_snapshot_of_the_training_table() -> None:
    assert registered_snapshots(_Registry()) == [("registered version 1 of model", "7")]
