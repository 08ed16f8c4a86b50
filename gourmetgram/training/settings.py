"""What may be set about training."""

from typing import Annotated

from pydantic import Field

from gourmetgram.settings import Settings


class TrainingSettings(Settings):
    """How rows are turned into examples."""

    provisional_negative_minutes: Annotated[int, Field(ge=0)] = 30
    """An image that was observed at least this long after its decision point, and not flagged, counts as harmless
    although its day is not over. 0 = only images whose day is over are learned from."""
