"""Steps before the traffic: wait for the API, load existing images and users, create the first ones."""

import logging
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, stop_never, wait_fixed

from data_generator.client import ApiCallError, ApiClient
from data_generator.handlers import Actors, attempt
from data_generator.settings import GeneratorSettings
from data_generator.world import START_WEIGHT, VIEW_WEIGHT, KnownComment, World

_RETRY_S: Final = 1.0
_REMIND_EVERY: Final = 15
"""Attempts, about one a second, between two log lines."""

# Each costs a request; comments of the newest images are enough for a start.
_COMMENTS_OF_IMAGES: Final = 20

log = logging.getLogger(__name__)


async def wait_until_ready(api: ApiClient, url: str, give_up_after_s: float | None = None) -> None:
    """Poll the API until it is ready.

    Args:
        api: its client.
        url: its address, for the log.
        give_up_after_s: None waits for ever.

    Raises:
        ApiCallError: it was not ready in time.
    """

    def remind(call: RetryCallState) -> None:
        if call.outcome is not None and call.attempt_number % _REMIND_EVERY == 1:
            log.info("Waiting for the API at %s (%s)", url, call.outcome.exception())

    attempts = AsyncRetrying(
        retry=retry_if_exception_type(ApiCallError),
        stop=stop_never if give_up_after_s is None else stop_after_delay(give_up_after_s),
        wait=wait_fixed(_RETRY_S),
        before_sleep=remind,
        reraise=True,
    )
    await attempts(api.ready)
    log.info("The API at %s is ready", url)


async def learn(api: ApiClient, world: World) -> None:
    """Load the images of earlier runs with their uploaders and comments; their view counts are their engagement."""
    try:
        images = await api.recent_images()
        # Oldest first, since the memory drops the item that it got first.
        for image in reversed(images):
            world.images.add(image.id, START_WEIGHT + VIEW_WEIGHT * image.views)
            world.users.add(image.user_id)
        for image in reversed(images[:_COMMENTS_OF_IMAGES]):
            for comment in await api.comments_of(image.id):
                world.comments.add(KnownComment(comment.id, image.id))
    except ApiCallError as error:
        log.warning("Not everything that earlier runs left could be listed: %s", error)
    log.info("Going on with what is there: %s", world.sizes())


async def create_initial(actors: Actors, settings: GeneratorSettings) -> None:
    """Create the first users, then the first images; failures are logged and counted."""
    for _ in range(settings.generator_initial_users):
        await attempt(actors, "user")
    for _ in range(settings.generator_initial_images):
        await attempt(actors, "upload")
    log.info(
        "Initial users and images: asked for %d and %d; now %s",
        settings.generator_initial_users,
        settings.generator_initial_images,
        actors.world.sizes(),
    )
