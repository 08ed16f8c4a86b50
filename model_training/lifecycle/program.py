"""Common parts of the two programs: options, log lines, and errors as one sentence."""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gourmetgram.errors import PlatformError
from model_training.lifecycle.config import CONFIG_FILES, ENVIRONMENTS, ProjectConfig
from model_training.lifecycle.origin import current_branch, current_commit
from model_training.lifecycle.tracking import silence_client


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the project, its environment, and the origin of the code."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--project", choices=sorted(CONFIG_FILES), default="moderation", help="project (%(default)s)")
    chosen.add_argument("--config", type=Path, metavar="FILE", help="another project configuration, in YAML")
    parser.add_argument("--env", default="dev", help=f"environment: {', '.join(ENVIRONMENTS)} (%(default)s)")
    parser.add_argument("--git_sha", default=current_commit(), metavar="SHA", help="commit of the code (%(default)s)")
    parser.add_argument("--branch", default=current_branch(), help="branch of the code (%(default)s)")


def chosen_config(options: argparse.Namespace) -> ProjectConfig:
    """The configuration that the options of `add_options` name.

    Raises:
        SettingsError: the environment is unknown, or the file is not usable.
    """
    return ProjectConfig.from_yaml(options.config or CONFIG_FILES[options.project], options.env)


@contextmanager
def sentences(log: logging.Logger) -> Iterator[None]:
    """Log the program's own lines only; an error of the platform becomes one line, and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(message)s")
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    silence_client()
    try:
        yield
    except PlatformError as error:
        log.error("%s", error)
        sys.exit(1)
