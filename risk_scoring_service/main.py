"""Entry point: `python -m risk_scoring_service`."""

import sys
from typing import Final

from gourmetgram.errors import SettingsError
from gourmetgram.observability import configure_logging
from gourmetgram.worker_process import run_until_signalled
from risk_scoring_service.service import ScoringService
from risk_scoring_service.settings import ScorerSettings

_LEAVE_AFTER_S: Final = 4.0


def main() -> int:
    """Run until SIGINT or SIGTERM.

    Returns:
        The exit code: 0 after a signal, 1 when the service could not go on, 2 when a setting is wrong.
    """
    try:
        settings = ScorerSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log_level)
    service = ScoringService(settings)
    return run_until_signalled("The risk scoring service", service.run, service.final_words, _LEAVE_AFTER_S)
