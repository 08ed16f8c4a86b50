"""One replica of the stream consumer on a group in memory and a real Redis, which dies or freezes at a chosen call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from redis import Redis

from gourmetgram.clients.redis import WORKER
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.kafka.status import BrokerWatch
from gourmetgram.moments import HOUR_US
from stream_consumer.alignment import Alignment
from stream_consumer.batch import BatchCall
from stream_consumer.commits import CommitMirror
from stream_consumer.handlers import BatchHandler
from stream_consumer.health import ConsumerHealth
from stream_consumer.progress import StreamProgress
from stream_consumer.recovery import Recovery
from stream_consumer.report import ConsumerReport
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.settings import ConsumerSettings
from stream_consumer.store.batches import BatchStore
from stream_consumer.store.offsets import OffsetStore
from stream_consumer.store.requests import RequestStore
from stream_consumer.store.scripts import vocabulary
from stream_consumer.store.servers import ServerBatches
from stream_consumer.worker import StreamWorker
from tests.support.consumer_fakes import FakeDeadLetters
from tests.support.consumer_group import REQUESTS, Member, MemoryBroker

_DEADLINE_S: Final = 30.0


class Killed(BaseException):
    """The process ends here: no handler of the worker runs."""


class Faults:
    """Counts the moments before and after each call that others can see; at a chosen one, the process dies or freezes.

    Attributes:
        left: number of moments that pass first; None for no fault.
        call: name of the call whose moments count; None for all.
        strike: what happens then.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.call: str | None = None
        self.strike: Callable[[], None] = lambda: None

    def moment(self, call: str) -> None:
        """A moment of a call, at which the process may die or freeze."""
        if self.left is None or self.call not in (None, call):
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            self.strike()


class Stepped:
    """Passes calls on, with a moment before and after each of the named ones."""

    def __init__(self, target: Any, faults: Faults, *names: str) -> None:
        self._target, self._faults, self._names = target, faults, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._names:
            return found

        def stepped(*arguments: Any, **named: Any) -> Any:
            self._faults.moment(name)
            answer = found(*arguments, **named)
            self._faults.moment(name)
            return answer

        return stepped


class SteppedBatchStore(BatchStore):
    """A store with a moment also before a batch is sent a second time, without repeated events."""

    def __init__(self, client: Redis, words: bytes, faults: Faults) -> None:
        super().__init__(client, words)
        self._faults = faults

    def _run(self, call: BatchCall) -> list[Any]:
        self._faults.moment("run")
        return super()._run(call)


class SteppedBatches(ServerBatches):
    """Batches of one server, whose store is a `SteppedBatchStore`."""

    def __init__(self, servers: RedisServers, words: bytes, faults: Faults) -> None:
        super().__init__(servers, words)
        self._stores = [SteppedBatchStore(client, words, faults) for client in servers.clients]


class Replica:
    """A worker with its own memory and connections.

    Args:
        broker: broker and group.
        settings: settings, with the address of Redis.
    """

    def __init__(self, broker: MemoryBroker, settings: ConsumerSettings) -> None:
        self.faults = Faults()
        self._redis = RedisServers.connect(settings, WORKER)
        words = vocabulary(settings, settings.consumer_dedup_hours)
        self.member = Member(broker, REQUESTS.topic)
        self._worker = self._build(broker, settings, words)
        self._stands, self._woken = threading.Event(), threading.Event()
        self._threads = ThreadPoolExecutor(1)
        self._turn: Future[None] | None = None
        self.member.subscribe(self._worker)

    def _build(self, broker: MemoryBroker, settings: ConsumerSettings, words: bytes) -> StreamWorker:
        def stepped(target: Any, *names: str) -> Any:
            return Stepped(target, self.faults, *names)

        source = stepped(self.member, "commit", "send")
        batches = stepped(
            SteppedBatches(self._redis, words, self.faults), "send", "receive", "rebuild", "trim", "window_counts"
        )
        kept = stepped(RequestStore(self._redis, words), "pending", "due_anchors", "freeze", "confirm")
        offsets = stepped(OffsetStore(self._redis), "offsets", "start")
        progress = StreamProgress()
        report = ConsumerReport(settings, progress, batches.window_counts)
        retention = WindowRetention(progress, source, batches)

        def now_us() -> int:
            return broker.now_us

        requests = RequestPipeline(
            kept, broker, progress, source, REQUESTS.topic, retention, report.request_sent, now_us
        )
        return StreamWorker(
            settings,
            source,
            Alignment(source, broker, broker, offsets, progress, settings.consumer_dedup_hours * HOUR_US, now_us),
            Recovery(broker, broker, batches, retention, requests, progress, REQUESTS.topic, now_us),
            BatchHandler(batches, progress, FakeDeadLetters(), retention, requests, lambda: None),
            requests,
            report,
            CommitMirror(source, progress, requests),
            retention,
            ConsumerHealth(lambda: True, 30.0),
            BrokerWatch(),
        )

    @property
    def frozen(self) -> bool:
        """True while the process stands still in the middle of a turn."""
        return self._turn is not None

    def turn(self) -> None:
        """One turn of the worker."""
        self._worker.turn()

    def die(self, moment: int) -> bool:
        """One turn, in which the process dies at a moment; False when the turn ends before."""

        def strike() -> None:
            raise Killed

        self.faults.left, self.faults.call, self.faults.strike = moment, None, strike
        try:
            self._worker.turn()
        except Killed:
            self.close()
            return True
        finally:
            self.faults.left = None
        return False

    def freeze(self, moment: int, call: str | None = None) -> None:
        """One turn, in which the process freezes at a moment (of a named call); the turn may end before."""

        def strike() -> None:
            self._stands.set()
            assert self._woken.wait(_DEADLINE_S)

        self._stands.clear()
        self._woken.clear()
        self.faults.left, self.faults.call, self.faults.strike = moment, call, strike
        self._turn = self._threads.submit(self._worker.turn)
        self._turn.add_done_callback(lambda _turn: self._stands.set())
        assert self._stands.wait(_DEADLINE_S)
        if self.faults.left is not None or self._turn.done():
            self.wake()

    def wake(self) -> None:
        """Let a frozen process go on to the end of its turn."""
        if self._turn is not None:
            turn, self._turn = self._turn, None
            self._woken.set()
            turn.result(_DEADLINE_S)
            self.faults.left = None

    def close(self) -> None:
        """Close the connections, as the operating system does."""
        self._threads.shutdown()
        self._redis.close()
