"""Origin of a published model: its snapshot, its split and its label horizon, from its metadata.json."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from gourmetgram.errors import PermanentError
from gourmetgram.training.horizon import LONGEST_MINUTES
from gourmetgram.training.split import Split


class _Sizes(BaseModel):
    model_config = ConfigDict(extra="ignore")

    train_images: int = 0
    held_out_images: int = 0


class ModelOrigin(BaseModel):
    """Metadata of the trainer about the rows.

    Attributes:
        version: number of the model.
        snapshot_id: snapshot of moderation.training_data.
        held_out_from: upload time of the first image that was held out of the training.
        label_horizon_minutes: label horizon.
        metrics: number of images on both sides of the split.
    """

    model_config = ConfigDict(extra="ignore")

    version: int
    snapshot_id: int
    held_out_from: AwareDatetime
    label_horizon_minutes: Annotated[int, Field(ge=1, le=LONGEST_MINUTES)]
    metrics: _Sizes

    @property
    def split(self) -> Split:
        """Boundary of the held-out rows."""
        return Split(self.held_out_from, self.metrics.train_images, self.metrics.held_out_images)


def origin_of(metadata: Mapping[str, Any], model: str) -> ModelOrigin:
    """Origin of a model.

    Args:
        metadata: content of its metadata.json.
        model: the model in words, as the beginning of an error's sentence.

    Raises:
        PermanentError: the metadata lacks an entry about the rows.
    """
    try:
        return ModelOrigin.model_validate(metadata)
    except ValidationError as error:
        missing = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors()}))
        raise PermanentError(
            f"{model} does not say what was held out of its training ({missing}): train and publish one with "
            "`gourmetgram train --publish`."
        ) from error
