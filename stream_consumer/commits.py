"""Commits in Kafka, which mirror the offsets in Redis."""

import time
from collections.abc import Mapping
from typing import Final, Protocol

from gourmetgram.kafka.partitions import Partition
from stream_consumer.progress import StreamProgress
from stream_consumer.requests import RequestPipeline

_EVERY_S: Final = 0.1


class CommitTarget(Protocol):
    """Takes commits; see `EventSource`."""

    def commit(self, offsets: Mapping[Partition, int], wait: bool) -> None:
        """Commit next offsets."""


class CommitMirror:
    """Commits applied offsets, but none past a record whose request is not confirmed.

    Args:
        target: takes the commits.
        progress: positions of this process.
        requests: requests that hold commits back.
    """

    def __init__(self, target: CommitTarget, progress: StreamProgress, requests: RequestPipeline) -> None:
        self._target = target
        self._progress = progress
        self._requests = requests
        self._committed: dict[Partition, int] = {}
        self._next = 0.0

    def committable(self) -> dict[Partition, int]:
        """Per partition, the offset before which all is in Redis and all requests are confirmed."""
        unconfirmed = self._requests.first_unconfirmed()
        return {
            partition: min(offset, unconfirmed.get(partition, offset))
            for partition, offset in self._progress.applied.items()
        }

    def commit(self, wait: bool = False) -> None:
        """Commit offsets that have moved; without `wait` at most every 100 ms.

        Raises:
            TransientError: the commit did not succeed.
        """
        if not wait and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        moved = {
            partition: offset
            for partition, offset in self.committable().items()
            if self._committed.get(partition) != offset
        }
        self._target.commit(moved, wait)
        self._committed.update(moved)

    def restart(self) -> None:
        """Drop the memory of earlier commits: reading starts again."""
        self._committed = {}
