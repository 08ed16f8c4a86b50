"""State of the broker, as the statistics of a client show it.

Statistics come once a second without a request, so a health check never waits for a stalled broker.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from gourmetgram.errors import PlatformError
from gourmetgram.kafka.partitions import Partition

ClientStatistics: TypeAlias = Mapping[str, Any]
"""JSON document that librdkafka passes to `stats_cb`, decoded."""


class BrokerWatch:
    """Connection of one client to its brokers.

    - `connected`: the client holds a connection to a member of the cluster.
    - `lost`: the client has forgotten all its brokers and never comes back; it has to be replaced. See
      docs/decisions/kafka-clients.md.
    """

    INTERVAL_MS: Final = 1_000
    """Time between two sets of statistics; the option `statistics.interval.ms`."""

    _EMPTY_LIMIT: Final = 3
    """Number of empty statistics in a row that mean `lost`: while it changes brokers, a client may have none for a
    moment."""

    def __init__(self) -> None:
        self._empty = 0
        self._connected = False

    @property
    def lost(self) -> bool:
        """True when the client knows no broker any more."""
        return self._empty >= self._EMPTY_LIMIT

    @property
    def connected(self) -> bool:
        """True when the last statistics showed a connection to a member of the cluster."""
        return self._connected

    def config(self, also: Callable[[ClientStatistics], None] | None = None) -> dict[str, object]:
        """Options of a client that reports its statistics here. Its owner has to poll it, also when it is idle.

        Args:
            also: called with the same statistics.
        """

        def received(text: str) -> None:
            statistics = orjson.loads(text)
            self.update(statistics)
            if also is not None:
                also(statistics)

        return {"statistics.interval.ms": self.INTERVAL_MS, "stats_cb": received}

    def update(self, statistics: ClientStatistics) -> None:
        """Take the newest statistics of the client."""
        brokers = statistics["brokers"].values()
        # A broker with the source "logical" is a role, such as the coordinator of a group, and no server.
        known = any(broker["source"] != "logical" for broker in brokers)
        self._empty = 0 if known else self._empty + 1
        # A node id below 0 is a bootstrap address: the member of the cluster behind it is not known yet.
        self._connected = any(broker["nodeid"] >= 0 and broker["state"] == "UP" for broker in brokers)

    def disconnected(self) -> None:
        """Record that all brokers are down, before the next statistics show it (error `_ALL_BROKERS_DOWN`)."""
        self._connected = False

    def check(self) -> None:
        """Check the client, in a process that a supervisor restarts.

        Raises:
            PlatformError: the brokers are forgotten.
        """
        if self.lost:
            raise PlatformError("the Kafka client has forgotten all its brokers; only a new process can help")


class PartitionStatus(NamedTuple):
    """Offsets of a partition in the last answers of the broker; None when not known yet.

    Attributes:
        low: first offset that the broker holds.
        high: next offset that the broker will write.
        lag: records between the position of the group and `high`; known only where this client reads.
    """

    low: int | None
    high: int | None
    lag: int | None


def partition_statuses(statistics: ClientStatistics) -> dict[Partition, PartitionStatus]:
    """Offsets and lag of all partitions that a client knows."""
    return {
        Partition(topic, item["partition"]): PartitionStatus(
            _known(item["lo_offset"]),
            _known(item["hi_offset"]),
            _known(item["consumer_lag"]) if item["fetch_state"] != "none" else None,
        )
        for topic, description in statistics["topics"].items()
        for item in description["partitions"].values()
        # Partition -1 is librdkafka's own: messages without a partition yet.
        if item["partition"] >= 0
    }


def _known(offset: int) -> int | None:
    return offset if offset >= 0 else None
