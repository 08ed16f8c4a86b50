"""Recovery after a stop or a loss: what Redis forgot meanwhile is read again, before the stream goes on.

- Windows. Their keys live for two hours of the machine's clock, but an event is counted with those of the hour before
  its own time. After a long stop of the consumer alone, the first unread events would find empty windows. So the
  events before them are added to the windows again; totals, alerts, requests and offsets stay.
- Requests. A Redis that lost its latest writes raises requests again that the broker has already. Their contexts would
  differ, because more has been read by now. So the requests that were published meanwhile are recognised by their ids.

Both go back to the oldest open moment of each partition number: the broker time of its first unread record, or the
time of its oldest pending request.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from gourmetgram.events import ModerationRequest, Record, parse_request
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.moments import MINUTE_US, SECOND_US, now_us
from gourmetgram.windows import LONGEST_WINDOW, WINDOW_TTL_S, WINDOW_US
from stream_consumer.alignment import RecordReading
from stream_consumer.batch import BatchCall, build_call, read_batch
from stream_consumer.progress import StreamProgress
from stream_consumer.retention import WindowRetention

WINDOWS_AGE_US: Final = (WINDOW_TTL_S[LONGEST_WINDOW] * SECOND_US - WINDOW_US[LONGEST_WINDOW]) // 2
"""Age of the oldest open moment from which windows are rebuilt: half of the time for which they outlive their width."""

# An event may come an hour late and still raise a request (`LATE_AFTER_US`); that request counts one hour more. Event
# times may lead the broker's by a minute.
_WINDOWS_BEFORE_US: Final = 2 * WINDOW_US[LONGEST_WINDOW] + MINUTE_US
_REQUESTS_BEFORE_US: Final = MINUTE_US


class WindowRebuilder(Protocol):
    """Adds events to windows again; see `ServerBatches`."""

    def rebuild(self, call: BatchCall) -> bool:
        """Add events to the longest windows again; False when Redis has other offsets than expected."""


class OffsetsByTime(Protocol):
    """Offsets on the broker; see `BrokerOffsets`."""

    def since(self, times_us: Mapping[Partition, int]) -> dict[Partition, int]:
        """First offset of each partition whose record the broker stored at this time or later; else its end."""

    def ends(self, of: Iterable[Partition]) -> dict[Partition, int]:
        """Next offset of partitions."""

    def topic_partitions(self, topic: str) -> list[Partition]:
        """Partitions of a topic; none when it is missing."""


class KnownRequests(Protocol):
    """Requests of this process; see `RequestPipeline`."""

    def oldest_open_us(self) -> Mapping[int, int]:
        """Time of the oldest pending request of each partition number."""

    def recognise(self, request_ids: Iterable[str]) -> None:
        """Take the ids of requests that the broker has already."""


class Recovery:
    """Reads again what a stop or a loss has taken from Redis, in steps.

    Args:
        broker: offsets on the broker.
        reader: reads ranges.
        windows: takes events of the windows.
        retention: trims the windows when no unread event needs them.
        requests: takes ids of published requests.
        progress: positions of this process.
        topic: the moderation topic.
        clock: now, microseconds.
    """

    def __init__(
        self,
        broker: OffsetsByTime,
        reader: RecordReading,
        windows: WindowRebuilder,
        retention: WindowRetention,
        requests: KnownRequests,
        progress: StreamProgress,
        topic: str,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._broker = broker
        self._reader = reader
        self._windows = windows
        self._retention = retention
        self._requests = requests
        self._progress = progress
        self._topic = topic
        self._clock = clock
        self._steps: Iterator[int] = iter(())
        self.records = 0
        """Number of records read again since `start`."""

    def start(self) -> None:
        """Begin again. The positions are aligned, and the pending requests are known."""
        self._steps = self._recover()
        self.records = 0

    def step(self) -> bool:
        """Read and use a number of records again.

        Returns:
            False when nothing is left to do.

        Raises:
            TransientError: Redis or the broker did not answer.
        """
        number = next(self._steps, None)
        self.records += number or 0
        return number is not None

    def _recover(self) -> Iterator[int]:
        open_us = self._oldest_open_us()
        yield from self._rebuild_windows(open_us)
        yield from self._recognise_requests(min(open_us.values(), default=None))

    def _oldest_open_us(self) -> dict[int, int]:
        """Oldest open moment of each partition number that has one."""
        open_us = dict(self._requests.oldest_open_us())
        for partition, time_us in self._progress.unread_since_us.items():
            open_us[partition.number] = min(time_us, open_us.get(partition.number, time_us))
        return open_us

    def _rebuild_windows(self, open_us: Mapping[int, int]) -> Iterator[int]:
        now = self._clock()
        starts = dict(self._progress.applied)
        old = {number: time_us for number, time_us in open_us.items() if now - time_us > WINDOWS_AGE_US}
        first = self._broker.since(
            {each: old[each.number] - _WINDOWS_BEFORE_US for each in starts if each.number in old}
        )
        ranges = {each: OffsetRange(offset, starts[each]) for each, offset in first.items()}
        positions = {each: (starts[each], starts[each]) for each in ranges}
        for records in self._reader.read(ranges):
            batch = read_batch(records)
            self._retention.hold(batch.eligible, dict.fromkeys(old, 0))
            if not self._windows.rebuild(build_call(batch, positions, {})):
                # Another process has the partitions; the next check of the offsets shows it.
                return
            yield len(records)

    def _recognise_requests(self, open_us: int | None) -> Iterator[int]:
        if open_us is None:
            return
        partitions = self._broker.topic_partitions(self._topic)
        first = self._broker.since(dict.fromkeys(partitions, open_us - _REQUESTS_BEFORE_US))
        ends = self._broker.ends(partitions)
        for records in self._reader.read({each: OffsetRange(first[each], ends[each]) for each in partitions}):
            self._requests.recognise(_request_ids(records))
            yield len(records)


def _request_ids(records: Iterable[Record]) -> list[str]:
    requests = [parse_request(record) for record in records]
    return [request.request_id for request in requests if isinstance(request, ModerationRequest)]
