"""Names of the training table's columns and properties, for programs that need no more of this package."""

from typing import Final

TRAINING_TABLE: Final = "moderation.training_data"

FIRST_FLAG: Final = "first_flagged_at"
"""Column that tables of earlier versions lack until the next run of moderation_training."""

EXTRACTED_AT: Final = "gourmetgram.extracted_at"
"""Property of the files, of each snapshot and of the table: the moment of the raw extract."""

EVENTS_SNAPSHOT_ID: Final = "gourmetgram.events_snapshot_id"
"""Property of the files and of each snapshot: the snapshot of `events` that the rows were made from; empty for none."""

ROWS_REMOVED_AT: Final = "gourmetgram.rows_removed_at"
"""Property of the table: time of the last extract whose load removed an image, deleted or ineligible, from all rows."""

ROWS_KEPT: Final = "gourmetgram.rows_kept"
"""Property of each snapshot: number of rows of the table."""

ERASED_AT: Final = "gourmetgram.erased_at"
"""Property of the table: the last erasure. Files of an earlier extract may hold erased rows and are refused."""
