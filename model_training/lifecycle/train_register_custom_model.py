"""Train the basic model of a project; when it is better, register it, and wrap and register it as the custom model.

    python model_training/lifecycle/train_register_custom_model.py --env dev --git_sha abcd12345 --branch main

The form of a job: origin of the code as arguments, results as task values for the steps that follow.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Final

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import PROJECT_ROOT, IcebergSettings
from model_training.lifecycle.basic_model import BasicModel
from model_training.lifecycle.config import CONFIG_FILES, ENVIRONMENTS, ProjectConfig, Tags
from model_training.lifecycle.custom_model import register_custom_model
from model_training.lifecycle.registration import aliased_version
from model_training.lifecycle.tracking import connect

TASK_VALUES: Final = Path("demo_artifacts") / "task_values.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _options(arguments)
    try:
        config = ProjectConfig.from_yaml(options.config or CONFIG_FILES[options.project], options.env)
        tags = Tags(git_sha=options.git_sha, branch=options.branch, run_id=options.job_run_id)
        connect()
        values = train_and_register(config, tags, options.root_path)
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    options.task_values.parent.mkdir(parents=True, exist_ok=True)
    options.task_values.write_text(json.dumps(values) + "\n", encoding="utf-8")
    for name, value in values.items():
        sys.stdout.write(f"{name}={value}\n")
    return 0


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
        model = BasicModel(config, tags, catalog)
        model.load_data()
    model.prepare_features()
    model.train()
    model.log_model()
    if not model.model_improved():
        kept = aliased_version(config.model_name_custom)
        return {"model_version": str(kept.version) if kept else "", "model_updated": 0}
    model.register_model()
    version = register_custom_model(config, tags, model.X_test.head(1), root)
    return {"model_version": version, "model_updated": 1}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root_path", type=Path, default=PROJECT_ROOT, help="folder with the wheel in dist/")
    parser.add_argument("--env", choices=ENVIRONMENTS, default="dev", help="environment: prd, acc or dev (default)")
    parser.add_argument("--git_sha", required=True, help="commit of the code, for example abcd12345")
    parser.add_argument("--job_run_id", help="id of the job's run; becomes the tag run_id")
    parser.add_argument("--branch", required=True, help="branch of the code, for example main")
    project = parser.add_mutually_exclusive_group()
    project.add_argument("--project", choices=CONFIG_FILES, default="moderation", help="moderation (default) or marvel")
    project.add_argument("--config", type=Path, help="another project configuration, a YAML file")
    parser.add_argument("--task_values", type=Path, default=TASK_VALUES, help=f"result as JSON (default {TASK_VALUES})")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
