"""Bring PostgreSQL's schema and the roles of the services up to date: `python -m setup_jobs.schema`."""

import logging
import sys

from gourmetgram.database.migrate import migrate
from gourmetgram.database.roles import RoleSettings, ensure_roles
from gourmetgram.errors import PlatformError, SettingsError
from gourmetgram.observability import configure_logging
from gourmetgram.settings import PostgresSettings

log = logging.getLogger("setup_jobs.schema")


def main() -> int:
    """Run the migrations once.

    Returns:
        The exit code: 0 for a schema that is up to date, 1 for a failure, 2 for a wrong setting.
    """
    try:
        settings, passwords = PostgresSettings.load(), RoleSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("INFO")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # ten lines about itself
    try:
        log.info("%s", migrate(settings))
        ensure_roles(settings, passwords)
        log.info("Each service has its role and its rights.")
    except PlatformError as error:
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
