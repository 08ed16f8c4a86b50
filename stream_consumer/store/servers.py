"""Batches over several Redis servers: one call to each, all of them in flight together.

Each server changes its own offsets and state in one call. A batch may be applied on one server and not on another: the
offsets of each server tell, and step 1 of the worker continues from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from gourmetgram.clients.redis_servers import RedisServers, is_at_home, server_of_image, server_of_partition
from gourmetgram.kafka.partitions import Partition
from stream_consumer.batch import BatchCall, EventBatch, EventGroup, SplitCall, build_call
from stream_consumer.store.batches import AppliedBatch, BatchStore, GroupCounts

Item = TypeVar("Item")


class ServerBatches:
    """Applies batches, one at a time. Between `send` and `receive`, the servers work while this process continues.

    Args:
        servers: clients that do not decode answers.
        vocabulary: first argument of the scripts.
    """

    def __init__(self, servers: RedisServers, vocabulary: bytes) -> None:
        self._stores = [BatchStore(client, vocabulary) for client in servers.clients]
        self._sent: SplitCall | None = None

    @property
    def in_flight(self) -> bool:
        """True from `send` to `receive` or `abandon`."""
        return self._sent is not None

    def build(
        self, batch: EventBatch, positions: Mapping[Partition, tuple[int, int]], horizons: Mapping[int, int]
    ) -> SplitCall:
        """Form one call for each server that holds partitions of a batch; for the arguments see `BatchCall`."""
        number = len(self._stores)
        if number == 1:
            return SplitCall(batch, {0: build_call(batch, positions, horizons)})
        parts = {}
        for server in sorted({server_of_partition(partition.number, number) for partition in positions}):
            own = [item for item in batch.eligible if server_of_partition(item.record.partition, number) == server]
            places = {each: span for each, span in positions.items() if each.number % number == server}
            spans = {each: span for each, span in batch.spans.items() if each in places}
            parts[server] = build_call(replace(batch, eligible=own, spans=spans), places, horizons)
        return SplitCall(batch, parts)

    def send(self, call: SplitCall) -> None:
        """Send a batch without waiting for the answers.

        Raises:
            RedisUnavailableError: a server is away; others may apply their part.
        """
        self._sent = call
        for server, part in call.parts.items():
            self._stores[server].send(part)

    def receive(self) -> AppliedBatch | None:
        """Wait for the answers to the batch that was sent.

        Returns:
            Its changes. None when a server has other offsets than the batch expects: then nothing has changed there.

        Raises:
            RedisUnavailableError: no answer. The offsets in Redis show which parts are applied.
        """
        if self._sent is None:
            raise RuntimeError("no batch is in flight")
        sent, self._sent = self._sent, None
        try:
            answers = [self._stores[server].receive() for server in sent.parts]
        finally:
            self._abandon_all()
        applied = [answer for answer in answers if answer is not None]
        return _together(sent.batch, applied) if len(applied) == len(answers) else None

    def abandon(self) -> None:
        """Give up the answers to the batch that was sent, if there is one."""
        self._sent = None
        self._abandon_all()

    def rebuild(self, call: BatchCall) -> bool:
        """See `BatchStore.rebuild`; an event whose image belongs to another server is left out.

        Raises:
            RedisUnavailableError: a server did not answer.
        """
        number = len(self._stores)
        kept = [item for item in call.batch.eligible if is_at_home(item.event.image_id, item.record.partition, number)]
        split = self.build(replace(call.batch, eligible=kept), call.positions, call.horizons)
        return all(self._stores[server].rebuild(part) for server, part in split.parts.items())

    def trim(self, images: Sequence[str]) -> None:
        """See `BatchStore.trim`.

        Raises:
            RedisUnavailableError: a server did not answer.
        """
        for server, own in self._by_image(images, lambda image_id: image_id).items():
            self._stores[server].trim([image_id for _place, image_id in own])

    def window_counts(self, groups: Sequence[EventGroup]) -> list[GroupCounts]:
        """See `BatchStore.window_counts`.

        Raises:
            RedisUnavailableError: a server did not answer.
        """
        counts: dict[int, GroupCounts] = {}
        for server, own in self._by_image(groups, lambda group: group.image_id).items():
            found = self._stores[server].window_counts([group for _place, group in own])
            counts.update(zip((place for place, _group in own), found, strict=True))
        return [counts[place] for place in range(len(groups))]

    def _by_image(self, items: Sequence[Item], image_of: Callable[[Item], str]) -> dict[int, list[tuple[int, Item]]]:
        """Items and their places, by the servers of their images."""
        found: dict[int, list[tuple[int, Item]]] = {}
        for place, item in enumerate(items):
            found.setdefault(server_of_image(image_of(item), len(self._stores)), []).append((place, item))
        return found

    def _abandon_all(self) -> None:
        for store in self._stores:
            store.abandon()


def _together(batch: EventBatch, parts: Sequence[AppliedBatch]) -> AppliedBatch:
    if len(parts) == 1:
        return replace(parts[0], batch=batch)
    return AppliedBatch(
        batch=batch,
        groups=list(chain.from_iterable(part.groups for part in parts)),
        totals=list(chain.from_iterable(part.totals for part in parts)),
        alerts=sorted(chain.from_iterable(part.alerts for part in parts), key=lambda alert: alert.time_us),
        milestones=list(chain.from_iterable(part.milestones for part in parts)),
        repeated=sum(part.repeated for part in parts),
        failures=list(chain.from_iterable(part.failures for part in parts)),
    )
