"""Print what MLflow and the tables say about a project's registered models: `registry_reader.py NAME_WITHOUT_SUFFIX`.

A program of its own, because the addresses of MLflow and of the catalog are variables of a whole process.
"""

import json
import sys
from typing import Any

from model_training.lifecycle.basic_model import MODEL_NAME
from model_training.lifecycle.client import mlflow
from model_training.lifecycle.inspection import dataset_rows, predictions_by_uri, three_uris
from model_training.lifecycle.registration import ALIAS, aliased_version
from model_training.lifecycle.tracking import connect


def main(name: str) -> dict[str, Any]:
    """The document; predictions are those for the rows of the run's test set."""
    connect()
    # MLflow's types allow None where a version that was registered from a run has a value.
    basic: Any = aliased_version(f"{name}_basic")
    custom: Any = aliased_version(f"{name}_custom")
    if basic is None or custom is None:
        sys.exit(f"{name}: without the alias {ALIAS}: basic {basic}, custom {custom}")
    run: Any = mlflow.get_run(basic.run_id)
    datasets: dict[str, Any] = {}
    for each in run.inputs.dataset_inputs:
        source, purpose = json.loads(each.dataset.source), each.tags[0].value
        datasets[purpose] = {
            "table": source["table"],
            "snapshot_id": source["snapshot_id"],
            "rows": len(dataset_rows(basic.run_id, purpose)),
            "logged_rows": json.loads(each.dataset.profile)["num_rows"],
        }
    inputs = mlflow.models.get_model_info(f"runs:/{basic.run_id}/{MODEL_NAME}").signature.inputs.input_names()
    rows = dataset_rows(basic.run_id, "testing")[inputs]
    model_id = basic.source.removeprefix("models:/")
    predictions = predictions_by_uri(three_uris(model_id, basic.run_id, f"{name}_basic"), rows)
    wrapper = mlflow.pyfunc.load_model(f"models:/{name}_custom@{ALIAS}")
    direct = wrapper.unwrap_python_model().predict(context=None, model_input=rows)
    return {
        "aliases": {"basic": str(basic.version), "custom": str(custom.version)},
        "run_id": basic.run_id,
        "tags": {key: run.data.tags.get(key) for key in ("git_sha", "branch", "run_id")},
        "basic": {"rows": len(rows), "equal": len({tuple(each) for each in predictions.values()}) == 1},
        "custom": {"equal": wrapper.predict(rows) == direct},
        "datasets": datasets,
    }


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(main(sys.argv[1]))}\n")
