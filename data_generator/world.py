"""The generator's bounded memory of the platform: recent images, comments and users."""

import random
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from data_generator.choice import RecentItems, WeightedChoice

MAX_IMAGES: Final = 10_000
MAX_COMMENTS: Final = 10_000
MAX_USERS: Final = 10_000
"""Limits of the memory, about 6 MB in all; beyond each, the oldest item is dropped."""

START_WEIGHT: Final = 1
VIEW_WEIGHT: Final = 1
COMMENT_WEIGHT: Final = 2
IMAGE_FLAG_WEIGHT: Final = 3
COMMENT_FLAG_WEIGHT: Final = 2


class KnownComment(NamedTuple):
    """A comment and the image it belongs to."""

    id: UUID
    image_id: UUID


@dataclass(frozen=True)
class World:
    """Known images, comments and users.

    Attributes:
        images: drawn by engagement: each starts with weight 1; a view adds 1, a comment 2, a flag 3, a flag on one of
            its comments 2. Engagement attracts engagement, so some images become popular.
        comments: targets of flags on comments.
        users: actors of uploads, comments and flags.
    """

    images: WeightedChoice[UUID]
    comments: RecentItems[KnownComment]
    users: RecentItems[UUID]

    @classmethod
    def empty(cls) -> "World":
        """An empty memory."""
        return cls(WeightedChoice(MAX_IMAGES), RecentItems(MAX_COMMENTS), RecentItems(MAX_USERS))

    def any_image(self, rng: random.Random) -> UUID | None:
        """Draw an image in proportion to its engagement."""
        return self.images.draw(rng)

    def sizes(self) -> str:
        """Counts as one line for the log."""
        return f"known images={len(self.images)}, known comments={len(self.comments)}, known users={len(self.users)}"
