"""`python -m setup_jobs.buckets`: create the buckets of the object store. Existing ones stay as they are."""

import sys

from gourmetgram import buckets
from gourmetgram.errors import PlatformError
from gourmetgram.settings import ObjectStoreSettings


def main() -> int:
    """Create both buckets; returns the exit code, 1 with one line on standard error when one is missing."""
    try:
        buckets.create(ObjectStoreSettings.load())
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"Both buckets exist: {', '.join(buckets.ALL)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
