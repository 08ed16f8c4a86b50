"""Where reading begins: Redis says what was applied, the broker says what it still has."""

import logging
from typing import NamedTuple

from stream_consumer.partitions import Progress, field_of
from stream_consumer.source import EventSource, Limits
from stream_consumer.store import WindowStore

log = logging.getLogger(__name__)


class Start(NamedTuple):
    """Where a partition begins.

    Attributes:
        offset: of the first record to read; Redis shall stand there too.
        warning: what a person should know, or None.
    """

    offset: int
    warning: str | None = None


def align(source: EventSource, store: WindowStore, progress: Progress) -> None:
    """Read all assigned partitions from where Redis stands.

    The one way back from everything: an assignment, an outage, a lost answer, a Redis that lost its latest writes.

    Raises:
        TransientError: Redis or the broker did not answer.
    """
    assigned = source.assigned
    stored, origins, limits = store.offsets(assigned), store.origins(assigned), source.limits(assigned)
    starts = {
        partition: decide_start(stored[partition], origins[partition], limits[partition]) for partition in assigned
    }
    for partition, start in starts.items():
        if start.warning:
            log.warning("%s: %s", field_of(partition), start.warning)
    moved = {partition: start.offset for partition, start in starts.items() if start.offset != stored[partition]}
    named = {partition: limits[partition].origin for partition in assigned}
    store.start(moved, {name: origin for name, origin in named.items() if origin != origins[name]})
    offsets = {partition: start.offset for partition, start in starts.items()}
    progress.restart(offsets, {partition: limits[partition].high for partition in assigned})
    source.read_from(offsets)


def decide_start(stored: int | None, stored_origin: str | None, limits: Limits) -> Start:
    """Decide where one partition begins.

    Args:
        stored: the next offset by Redis, None when it knows nothing: all is built again from the events, which changes
            no decision, because a request's id follows from its event.
        stored_origin: the topic that `stored` counts in.
        limits: what the broker has.
    """
    if stored is None:
        return Start(limits.low)
    if stored_origin is not None and _is_other_topic(stored_origin, limits.origin):
        return Start(limits.low, "this topic was made anew; reading it from its beginning")
    if stored > limits.high:
        lost = f"the broker ends at {limits.high} and has lost records up to {stored}, which were applied"
        return Start(limits.high, f"{lost}; going on at its end")
    if stored < limits.low:
        gone = f"records {stored} to {limits.low - 1} were deleted before they were applied"
        return Start(limits.low, f"{gone}; going on at {limits.low}")
    return Start(stored)


def _is_other_topic(stored: str, current: str) -> bool:
    # Ids of different sorts (a broker update brought topic ids) cannot be compared.
    same_sort = stored.partition(":")[0] == current.partition(":")[0]
    return same_sort and stored != current
