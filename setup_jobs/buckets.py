"""Create the buckets of the object store, and the users of the services: `python -m setup_jobs.buckets`.

Existing buckets stay as they are. Existing users get their passwords and rights again.
"""

import sys

from gourmetgram import buckets
from gourmetgram.errors import PlatformError, SettingsError
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.object_users import ObjectPlaces, ObjectUserSettings, ensure_users
from gourmetgram.settings import ObjectStoreSettings


def main() -> int:
    """Create what is absent.

    Returns:
        The exit code: 0, or with one line on standard error 1 after a failure, 2 for a wrong setting.
    """
    try:
        settings, passwords = ObjectStoreSettings.load(), ObjectUserSettings.load()
        models = ModelStoreSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        buckets.create(settings)
        sys.stdout.write(f"Both buckets exist: {', '.join(buckets.ALL)}\n")
        folder = models.model_prefix.partition("/")[0]
        ensure_users(settings, passwords, ObjectPlaces(models=f"{models.model_bucket}/{folder}/"))
        sys.stdout.write("Each service has its user and its rights.\n")
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
