"""The database's own id, and its number of searches for orphans; marks in the buckets name both."""

from typing import Final

INSTALLATION: Final = "SELECT id::text AS id, sweeps FROM installation"
"""Returns one row."""

COUNT_SWEEP: Final = "UPDATE installation SET sweeps = sweeps + 1 RETURNING id::text AS id, sweeps"
"""Returns one row, with the new number."""
