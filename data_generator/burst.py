"""A viral burst on one image: views, then comments, then flags, one request after the other."""

import logging
from collections.abc import Awaitable
from uuid import UUID

from data_generator.client import ApiCallError
from data_generator.handlers import Actors, upload_by
from data_generator.settings import GeneratorSettings
from data_generator.statistics import Kind

log = logging.getLogger(__name__)


async def simulate_viral(actors: Actors, settings: GeneratorSettings) -> bool:
    """Make the burst.

    Each comment and each flag comes from a new eligible user, so that all of them count.

    Returns:
        whether every call succeeded.
    """
    try:
        image_id = settings.generator_target_image_id or await _fresh_image(actors)
    except ApiCallError as error:
        actors.statistics.error()
        log.error("No image could be uploaded for the burst: %s", error)
        return False
    views, comments, flags = (
        settings.generator_burst_views,
        settings.generator_burst_comments,
        settings.generator_burst_flags,
    )
    log.info("Simulating viral burst for image: %s", image_id)
    log.info("Burst plan: views=%d, comments=%d, flags=%d", views, comments, flags)
    done = False
    try:
        await _burst(actors, image_id, views, comments, flags)
        done = actors.statistics.errors == 0
    except ApiCallError as error:
        actors.statistics.error()
        log.error("The burst ended early: %s", error)
    finally:  # a stopped burst logs its progress, too
        outcome = "complete" if done else "INCOMPLETE"
        log.info("Viral burst %s for image: %s (%s)", outcome, image_id, actors.statistics.summary())
    return done


async def _fresh_image(actors: Actors) -> UUID:
    uploader = await actors.people.register_eligible()
    actors.statistics.succeeded("user")
    image_id, _category = await upload_by(actors, uploader.id)
    return image_id


async def _burst(actors: Actors, image_id: UUID, views: int, comments: int, flags: int) -> None:
    people = await _distinct_people(actors, comments + flags)
    for _ in range(views):
        await _attempt(actors, "view", actors.api.view(image_id))
    for user_id in people[:comments]:
        await _attempt(actors, "comment", actors.api.comment(image_id, user_id, actors.texts.comment()))
    for user_id in people[comments:]:
        await _attempt(actors, "flag", actors.api.flag_image(image_id, user_id, actors.texts.flag_reason()))


async def _attempt(actors: Actors, kind: Kind, call: Awaitable[object]) -> None:
    """Count a call's success or refusal.

    Raises:
        ApiCallError: the API does not answer or has no such image, so no later call can succeed.
    """
    try:
        await call
    except ApiCallError as error:
        if error.status is None or error.missing == "image":
            raise
        actors.statistics.error()
        log.warning("A %s failed: %s", kind, error)
    else:
        actors.statistics.succeeded(kind)


async def _distinct_people(actors: Actors, count: int) -> list[UUID]:
    people: dict[UUID, None] = {}
    while len(people) < count:
        user = await actors.people.register_eligible()
        if user.id not in people:
            people[user.id] = None
            actors.statistics.succeeded("user")
    return list(people)
