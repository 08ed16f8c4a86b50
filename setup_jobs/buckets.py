"""Create the buckets of the object store: `python -m setup_jobs.buckets`. Existing buckets stay as they are."""

import sys

from gourmetgram import buckets
from gourmetgram.errors import PlatformError
from gourmetgram.settings import ObjectStoreSettings


def main() -> int:
    """Create both buckets; returns the exit code: 0, or 1 with one line on standard error after a failure."""
    try:
        buckets.create(ObjectStoreSettings.load())
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"Both buckets exist: {', '.join(buckets.ALL)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
