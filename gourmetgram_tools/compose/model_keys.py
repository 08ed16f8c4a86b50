"""Keys that sign the models of the lab, read in a running container of it."""

from typing import Final

from gourmetgram_tools.programs import ask

_HOLDERS: Final = ("risk-scoring-service", "airflow-scheduler", "jupyter")
"""Containers with the volume of the keys."""
_FILE: Final = "/model-keys/signing"
_TIMEOUT_S: Final = 20.0


def running_keys() -> tuple[str, ...]:
    """The keys, the newest first; none without Docker, or while no container that has them runs."""
    for container in _HOLDERS:
        answer = ask("docker", "exec", container, "cat", _FILE, timeout_s=_TIMEOUT_S)
        if answer is None:
            break
        if answer.succeeded:
            return tuple(answer.output.split())
    return ()
