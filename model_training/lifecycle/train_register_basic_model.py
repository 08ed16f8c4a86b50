"""Train, evaluate and register the basic model of a project: `python -m` this module, or its path; --help."""

import argparse
import logging
import time
from collections.abc import Sequence
from typing import Final

from pyiceberg.catalog import Catalog

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from model_training.lifecycle.basic_model import BasicModel
from model_training.lifecycle.config import ProjectConfig, Tags
from model_training.lifecycle.marvel import write_marvel_tables
from model_training.lifecycle.program import add_options, chosen_config, sentences
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.tracking import connect, run_page

log = logging.getLogger("train_register_basic_model")

SHOWN: Final = ("f1_score", "precision_score", "recall_score", "accuracy_score", "roc_auc", "log_loss")
"""Figures of the last line; the page of the run has all of them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all steps; an error is one line, and the exit code is 1.

    Args:
        arguments: of the command line; None = those of the process.
    """
    options = _parser().parse_args(arguments)
    with sentences(log):
        config = chosen_config(options)
        connect()
        with open_catalog(IcebergSettings.load()) as catalog:
            _run(config, Tags(git_sha=options.git_sha, branch=options.branch), catalog)


def _run(config: ProjectConfig, tags: Tags, catalog: Catalog) -> None:
    started = time.monotonic()
    if config.project == "marvel":
        write_marvel_tables(catalog)
    model = BasicModel(config, tags, catalog)
    log.info("Reading the rows of project %s", config.project)
    model.load_data()
    versions = dict.fromkeys((model.train_data_version, model.test_data_version))
    log.info(
        "%d training rows and %d test rows of snapshot %s",
        *(len(model.train_set), len(model.test_set), " and ".join(versions)),
    )
    if model.choice is not None:
        log.info("Label horizon: %d minutes, %s", model.choice.minutes, model.choice.reason)
    model.prepare_features()
    log.info("Training %s", ", ".join(f"{name}={value}" for name, value in config.parameters.items()))
    model.train()
    log.info("Logging the model to %s, and evaluating it on the test rows", config.experiment_name_basic)
    model.log_model()
    version = model.register_model()
    log.info(
        "%s version %s has the alias %s after %.0f s: %s. Run: %s",
        *(config.model_name_basic, version, ALIAS, time.monotonic() - started),
        ", ".join(f"{name} {model.metrics[name]:.4f}" for name in SHOWN),
        run_page(model.run_id, model.experiment_id),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_register_basic_model.py",
        description="Train the basic model of a project, log it to MLflow with its data versions, and register it "
        f"with the alias {ALIAS}. The variables MLFLOW_TRACKING_URI and PYICEBERG_CATALOG__GOURMETGRAM__... tell "
        "where the servers are.",
    )
    add_options(parser)
    return parser


if __name__ == "__main__":
    main()
