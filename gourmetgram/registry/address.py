"""Addresses of registered models and of pages of runs, without MLflow's client, which takes seconds to import."""

import re
from typing import Final, NamedTuple

from gourmetgram.errors import PermanentError

_FORM: Final = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")


class ModelAddress(NamedTuple):
    """Address of one version of a registered name; either the alias or the version is None."""

    name: str
    alias: str | None
    version: str | None


def parse_address(uri: str) -> ModelAddress:
    """The parts of `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        PermanentError: the text is no such address.
    """
    parts = _FORM.fullmatch(uri)
    if parts is None:
        raise PermanentError(f"'{uri}' is no address of a registered model: give models:/NAME@ALIAS or models:/NAME/3.")
    return ModelAddress(parts["name"], parts["alias"], parts["version"])


def page_address(address: str, run_id: str, experiment_id: str) -> str:
    """Address of a run's page in the MLflow at `address`."""
    return f"{address.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
