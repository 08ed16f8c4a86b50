"""Write moderation.large_training_data: LARGE_ROWS random rows (default 6,000,000), in files of about 30 MB."""

import logging
import sys

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from gourmetgram.training.large_table import LARGE_TABLE, LargeTableSettings, replace_large_table

log = logging.getLogger("generate_large_dataset")


def main() -> None:
    """Write the table; it replaces the old one when it is complete."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(message)s")
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    try:
        rows = LargeTableSettings.load().large_rows
        with open_catalog(IcebergSettings.load()) as catalog:
            log.info("Writing %d rows into %s", rows, LARGE_TABLE)
            replace_large_table(catalog, rows, lambda written: log.info("%d rows written", written))
    except PlatformError as error:
        log.error("%s", error)
        sys.exit(1)
    log.info("%s has %d rows", LARGE_TABLE, rows)


if __name__ == "__main__":
    main()
