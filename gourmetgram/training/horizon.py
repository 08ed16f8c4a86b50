"""The label of a row: 1 if the image was flagged within a fixed time after the decision point.

Every row is observed for the same time h, the horizon, whatever its label. A flag is known at once, its absence only
later. So rows taken as soon as their label is known would be the flagged ones first. Here a row is used when h minutes
after its decision point have been observed, and never because of its label.

A label never reaches beyond 24 hours after the upload, where observation ends. For a horizon of 24 hours, a row at 5 or
30 minutes is therefore fully observed at that moment; its label is then `label_needs_moderation_24h`.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gourmetgram.moments import MINUTE_US
from gourmetgram.training_data.rows import LABEL_HORIZON_US

HORIZONS_MINUTES: Final = (1440, 240, 60, 30, 15, 5)
"""Horizons to try, the best first: a longer one is closer to a moderator's question."""

ENOUGH_OBSERVED: Final = 0.6
"""Share of the rows that must have been observed for a horizon before it is chosen."""

LONGEST_MINUTES: Final = LABEL_HORIZON_US // MINUTE_US
NEVER_US: Final = np.iinfo(np.int64).max
"""Time of a flag that does not exist."""

Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


class Observations(NamedTuple):
    """Observations of n rows, each an array of shape (n,), times in microseconds since the epoch.

    Attributes:
        uploads_us: upload times.
        anchors_us: decision points t.
        observed_until_us: time up to which flags are known, at most 24 hours after the upload.
        flagged_us: first counted flag after t; `NEVER_US` without one.
        lost: True for rows with a flag within the 24 hours whose time is not known (any more).
    """

    uploads_us: Integers
    anchors_us: Integers
    observed_until_us: Integers
    flagged_us: Integers
    lost: Flags


class Outcomes(NamedTuple):
    """Labels of n rows for one horizon, each an array of shape (n,).

    Attributes:
        labels: 1 where a flag came within the horizon, else 0; only valid where `usable`.
        missing_us: microseconds until the horizon is observed to its end; 0 or less when it is.
        usable: True where the horizon is observed to its end.
    """

    labels: Integers
    missing_us: Integers
    usable: Flags


def outcomes(rows: Observations, horizon_minutes: int) -> Outcomes:
    """Labels and usable rows for a horizon of 1 to 1,440 minutes."""
    day_ends_us = rows.uploads_us + LABEL_HORIZON_US
    ends_us = np.minimum(rows.anchors_us + horizon_minutes * MINUTE_US, day_ends_us)
    # A flag at an unknown time of the day is a label for the whole day only, not for a shorter horizon.
    whole_day = ends_us == day_ends_us
    missing_us = np.where(rows.lost & ~whole_day, NEVER_US, ends_us - rows.observed_until_us)
    labels = (rows.flagged_us <= ends_us) | (rows.lost & whole_day)
    return Outcomes(labels.astype(np.int64), missing_us, missing_us <= 0)
