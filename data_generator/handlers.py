"""Actions at an arrival: one function per kind of event. A failed call raises `ApiCallError`."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from data_generator.client import ApiCallError, ApiClient
from data_generator.people import People
from data_generator.pictures import PictureSource
from data_generator.statistics import Kind, Statistics
from data_generator.texts import Texts
from data_generator.world import (
    COMMENT_FLAG_WEIGHT,
    COMMENT_WEIGHT,
    IMAGE_FLAG_WEIGHT,
    START_WEIGHT,
    VIEW_WEIGHT,
    KnownComment,
    World,
)

log = logging.getLogger(__name__)


class NothingToActOnError(Exception):
    """The event needs a user or an image, but the generator knows none yet."""


@dataclass(frozen=True)
class Actors:
    """Parts that all events share."""

    api: ApiClient
    people: People
    pictures: PictureSource
    texts: Texts
    world: World
    statistics: Statistics
    rng: random.Random

    def any_user(self) -> UUID:
        """Draw a known user."""
        return _known(self.world.users.draw(self.rng))

    def any_image(self) -> UUID:
        """Draw a known image by engagement."""
        return _known(self.world.any_image(self.rng))


def _known(item: UUID | None) -> UUID:
    if item is None:
        raise NothingToActOnError
    return item


async def new_user(actors: Actors) -> None:
    """Register a user."""
    user = await actors.people.register()
    actors.world.users.add(user.id)
    actors.statistics.succeeded("user")
    log.info("User %s registered (id %s)", user.username, user.id)


async def upload(actors: Actors) -> UUID:
    """Upload a picture; returns the image's id."""
    user_id = actors.any_user()
    with _forgetting_what_is_gone(actors, user_id=user_id):
        image_id, category = await upload_by(actors, user_id)
    actors.world.images.add(image_id, START_WEIGHT)
    log.info("Image %s uploaded (%s, user %s)", image_id, category, user_id)
    return image_id


async def upload_by(actors: Actors, user_id: UUID) -> tuple[UUID, str]:
    """Upload a picture of the data set for a user; returns the image's id and category."""
    choice = actors.pictures.choose(actors.rng)
    content = await asyncio.to_thread(choice.read)
    caption = actors.texts.caption(choice.category)
    image_id = await actors.api.upload(user_id, choice.filename, content, caption, choice.category)
    actors.statistics.succeeded("upload")
    return image_id, choice.category


async def view(actors: Actors) -> None:
    """View an image."""
    image_id = actors.any_image()
    with _forgetting_what_is_gone(actors, image_id=image_id):
        views = await actors.api.view(image_id)
    actors.world.images.increase(image_id, VIEW_WEIGHT)
    actors.statistics.succeeded("view")
    log.debug("Image %s viewed (%d views)", image_id, views)


async def comment(actors: Actors) -> None:
    """Write a comment."""
    image_id, user_id = actors.any_image(), actors.any_user()
    with _forgetting_what_is_gone(actors, image_id=image_id, user_id=user_id):
        comment_id = await actors.api.comment(image_id, user_id, actors.texts.comment())
    actors.world.comments.add(KnownComment(comment_id, image_id))
    actors.world.images.increase(image_id, COMMENT_WEIGHT)
    actors.statistics.succeeded("comment")
    log.info("Image %s commented on (comment %s)", image_id, comment_id)


async def flag(actors: Actors) -> None:
    """Flag an image or a comment, with equal chance when both exist."""
    user_id = actors.any_user()
    if actors.rng.random() < 0.5:
        known_comment = await _any_comment(actors)
        if known_comment is not None:
            await _flag_comment(actors, known_comment, user_id)
            return
    await _flag_image(actors, actors.any_image(), user_id)


async def _any_comment(actors: Actors) -> KnownComment | None:
    """Draw a known comment; when none is known, load an image's comments from the API."""
    if not len(actors.world.comments):
        image_id = actors.any_image()
        with _forgetting_what_is_gone(actors, image_id=image_id):
            visible = await actors.api.comments_of(image_id)
        for listed in visible:
            actors.world.comments.add(KnownComment(listed.id, image_id))
    return actors.world.comments.draw(actors.rng)


async def _flag_comment(actors: Actors, target: KnownComment, user_id: UUID) -> None:
    with _forgetting_what_is_gone(actors, target=target, user_id=user_id):
        await actors.api.flag_comment(target.id, user_id, actors.texts.flag_reason())
    actors.world.images.increase(target.image_id, COMMENT_FLAG_WEIGHT)
    actors.statistics.succeeded("flag")
    log.info("Comment %s of image %s flagged", target.id, target.image_id)


async def _flag_image(actors: Actors, image_id: UUID, user_id: UUID) -> None:
    with _forgetting_what_is_gone(actors, image_id=image_id, user_id=user_id):
        await actors.api.flag_image(image_id, user_id, actors.texts.flag_reason())
    actors.world.images.increase(image_id, IMAGE_FLAG_WEIGHT)
    actors.statistics.succeeded("flag")
    log.info("Image %s flagged", image_id)


@contextmanager
def _forgetting_what_is_gone(
    actors: Actors, *, image_id: UUID | None = None, user_id: UUID | None = None, target: KnownComment | None = None
) -> Iterator[None]:
    """Drop images, comments and users that were deleted meanwhile."""
    try:
        yield
    except ApiCallError as error:
        if error.missing == "image" and image_id is not None:
            actors.world.images.remove(image_id)
        elif error.missing == "user" and user_id is not None:
            actors.world.users.remove(user_id)
        elif error.missing in {"image", "comment"} and target is not None:
            actors.world.comments.remove(target)
        raise


HANDLERS: Final[Mapping[Kind, Callable[[Actors], Awaitable[object]]]] = {
    "view": view,
    "comment": comment,
    "upload": upload,
    "user": new_user,
    "flag": flag,
}
"""All kinds are equally likely."""


async def attempt(actors: Actors, kind: Kind) -> bool:
    """Execute one event; a failure is logged and counted, never fatal.

    Returns:
        True for a success.
    """
    try:
        await HANDLERS[kind](actors)
    except NothingToActOnError:
        actors.statistics.skipped += 1
        log.debug("A %s was skipped: no user or no image is known yet", kind)
    except (ApiCallError, OSError) as error:
        # OSError: a picture of the data set that cannot be read.
        actors.statistics.error()
        log.warning("A %s failed: %s", kind, error)
    else:
        return True
    return False


async def random_event(actors: Actors) -> None:
    """Execute one event of a kind drawn uniformly."""
    await attempt(actors, actors.rng.choice(tuple(HANDLERS)))
