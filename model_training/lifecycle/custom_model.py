"""The custom model of a project: the registered pipeline behind a wrapper, with the code that it needs."""

import logging
import tempfile
from pathlib import Path
from typing import Final

import pandas as pd  # type: ignore[import-untyped]

from gourmetgram.errors import PermanentError
from gourmetgram.settings import PROJECT_ROOT
from model_training.lifecycle.config import ProjectConfig, Tags
from model_training.lifecycle.registration import ALIAS, aliased_version
from model_training.lifecycle.wheels import code_paths, platform_wheel
from model_training.lifecycle.wrappers import MarvelModelWrapper, ModerationModelWrapper, PipelineWrapper

log = logging.getLogger(__name__)

WRAPPERS: Final[dict[str, type[PipelineWrapper]]] = {"moderation": ModerationModelWrapper, "marvel": MarvelModelWrapper}
"""The wrapper of each project."""


def basic_model_uri(config: ProjectConfig) -> str:
    """Address `models:/<model_id>` of the basic model behind the alias.

    Raises:
        PermanentError: no basic model is registered yet.
        TransientError: MLflow is away.
    """
    registered = aliased_version(config.model_name_basic)
    if registered is None:
        raise PermanentError(
            f"No version of {config.model_name_basic} has the alias {ALIAS}: register a basic model first "
            "(train_register_basic_model.py)."
        )
    # The field model_id of a version is empty on this server; its source names the logged model.
    return str(registered.source)


def register_custom_model(
    config: ProjectConfig, tags: Tags, input_example: pd.DataFrame, root: Path = PROJECT_ROOT
) -> str:
    """Wrap the basic model behind the alias, and register the result as the custom model.

    Args:
        config: configuration of the project.
        tags: origin of the model.
        input_example: some rows with the project's features.
        root: folder of `dist/`, which holds the platform's wheel or gets it.

    Returns:
        The new version of the custom model.

    Raises:
        PermanentError: no basic model is registered, no fitting wheel is there, or MLflow refuses.
        TransientError: MLflow or its object store is away.
    """
    uri = basic_model_uri(config)
    with tempfile.TemporaryDirectory() as folder:
        version = WRAPPERS[config.project]().log_register_model(
            wrapped_model_uri=uri,
            pyfunc_model_name=config.model_name_custom,
            experiment_name=config.experiment_name_custom,
            input_example=input_example,
            tags=tags,
            code_paths=code_paths(platform_wheel(root), Path(folder)),
        )
    log.info("%s version %s wraps %s", config.model_name_custom, version, uri)
    return version
