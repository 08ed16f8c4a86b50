"""Settings of training."""

from typing import Annotated

from pydantic import Field

from gourmetgram.settings import Settings
from gourmetgram.training.horizon import LONGEST_MINUTES


class TrainingSettings(Settings):
    """Rules that turn rows into examples."""

    label_horizon_minutes: Annotated[int, Field(ge=1, le=LONGEST_MINUTES)] | None = None
    """Minutes after its decision point in which a flag makes a row positive. None = the longest horizon that enough
    rows were observed for, see `gourmetgram.training.survey`."""
