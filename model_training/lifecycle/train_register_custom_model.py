"""Train the basic model of a project; if it is as good as the registered one, register it, then wrap and register it.

`python -m` this module, or its path; --help. It has the form of a job: the origin of the code comes as arguments,
and the results are task values for the steps that follow.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import PROJECT_ROOT, IcebergSettings
from model_training.lifecycle.basic_model import BasicModel
from model_training.lifecycle.config import ProjectConfig, Tags
from model_training.lifecycle.custom_model import register_custom_model
from model_training.lifecycle.marvel import write_marvel_tables
from model_training.lifecycle.program import add_options, chosen_config, sentences
from model_training.lifecycle.registration import ALIAS, aliased_version
from model_training.lifecycle.tracking import connect

log = logging.getLogger("train_register_custom_model")

TASK_VALUES: Final = Path("demo_artifacts") / "task_values.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job; an error is one line, and the exit code is 1.

    Args:
        arguments: of the command line; None = those of the process.
    """
    options = _parser().parse_args(arguments)
    with sentences(log):
        config = chosen_config(options)
        tags = Tags(git_sha=options.git_sha, branch=options.branch, run_id=options.job_run_id)
        connect()
        values = train_and_register(config, tags, options.root_path)
    options.task_values.parent.mkdir(parents=True, exist_ok=True)
    options.task_values.write_text(json.dumps(values) + "\n", encoding="utf-8")
    for name, value in values.items():
        sys.stdout.write(f"{name}={value}\n")


def train_and_register(config: ProjectConfig, tags: Tags, root: Path) -> dict[str, int | str]:
    """Train, compare with the model behind the alias, and register both models when the new one is as good.

    Args:
        config: configuration of the project.
        tags: origin of the models.
        root: folder of `dist/`.

    Returns:
        `model_version`, the version of the custom model behind the alias (empty without one), and `model_updated`,
        1 for a new version, else 0.

    Raises:
        PermanentError: the data is unusable, the wheel does not fit, or MLflow refuses.
        TransientError: MLflow, the catalog or the object store is away.
    """
    with open_catalog(IcebergSettings.load()) as catalog:
        if config.project == "marvel":
            write_marvel_tables(catalog)
        model = BasicModel(config, tags, catalog)
        model.load_data()
    log.info("Training on %d rows of snapshot %s", len(model.train_set), model.train_data_version)
    model.prepare_features()
    model.train()
    model.log_model()
    if not model.model_improved():
        kept = aliased_version(config.model_name_custom)
        return {"model_version": str(kept.version) if kept else "", "model_updated": 0}
    model.register_model()
    version = register_custom_model(config, tags, model.X_test.head(1), root)
    log.info("%s version %s has the alias %s", config.model_name_custom, version, ALIAS)
    return {"model_version": version, "model_updated": 1}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_register_custom_model.py",
        description="Train the basic model of a project. If it is at least as good as the registered one, register "
        "it, then wrap it with the platform's wheel and register the custom model.",
    )
    parser.add_argument("--root_path", type=Path, default=PROJECT_ROOT, help="folder with the wheel in dist/")
    add_options(parser)
    parser.add_argument("--job_run_id", metavar="ID", help="id of the job's run, which becomes the tag run_id")
    parser.add_argument(
        "--task_values",
        type=Path,
        default=TASK_VALUES,
        metavar="FILE",
        help="where the task values go, as JSON (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
