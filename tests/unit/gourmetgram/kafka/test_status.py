"""A client counts as connected with a member of the cluster only, and as lost without any server for a while."""

from typing import Any

import orjson
import pytest

from gourmetgram.errors import PlatformError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.status import BrokerWatch, ClientStatistics, PartitionStatus, partition_statuses

LEARNED = {"localhost:9092/1": {"source": "learned", "nodeid": 1, "state": "UP"}}
BOOTSTRAP = {"localhost:9092/bootstrap": {"source": "configured", "nodeid": -1, "state": "DOWN"}}
COORDINATOR = {"GroupCoordinator": {"source": "logical", "nodeid": -1, "state": "INIT"}}


def look(watch: BrokerWatch, *brokers: dict[str, Any]) -> None:
    merged = {name: broker for some in brokers for name, broker in some.items()}
    watch.update({"brokers": merged})


@pytest.mark.parametrize("brokers", [LEARNED, BOOTSTRAP], ids=["connected", "away"])
def test_a_client_that_knows_a_server_is_not_lost_however_long_it_is_away(brokers: dict[str, Any]) -> None:
    watch = BrokerWatch()
    for _ in range(10):
        look(watch, brokers, COORDINATOR)
    assert not watch.lost
    watch.check()


@pytest.mark.parametrize("brokers", [{}, COORDINATOR], ids=["nothing", "only a role"])
def test_a_client_without_servers_is_lost_after_three_looks(brokers: dict[str, Any]) -> None:
    watch = BrokerWatch()
    look(watch, brokers)
    look(watch, brokers)
    assert not watch.lost
    look(watch, brokers)
    assert watch.lost
    with pytest.raises(PlatformError, match="forgotten all its brokers"):
        watch.check()


def test_a_moment_without_servers_between_two_sets_of_them_does_not_count() -> None:
    watch = BrokerWatch()
    for _ in range(5):
        look(watch, COORDINATOR)
        look(watch, COORDINATOR)
        assert not watch.lost
        look(watch, BOOTSTRAP, COORDINATOR)
    assert not watch.lost


def test_the_settings_of_a_client_lead_its_statistics_here() -> None:
    watch = BrokerWatch()
    config = watch.config()
    assert config["statistics.interval.ms"] == BrokerWatch.INTERVAL_MS
    for _ in range(3):
        config["stats_cb"](orjson.dumps({"brokers": COORDINATOR}).decode())  # type: ignore[operator]
    assert watch.lost


CONNECTED = {
    "nothing": ({}, False),
    "a member that is up": (LEARNED, True),
    "a member that is down": ({"a": {**LEARNED["localhost:9092/1"], "state": "DOWN"}}, False),
    "an address, its member not known yet": ({"a": {**BOOTSTRAP["localhost:9092/bootstrap"], "state": "UP"}}, False),
    "a coordinator that is up": ({"a": {"source": "logical", "nodeid": 1, "state": "UP"}}, True),
    "one down, one up": ({**BOOTSTRAP, **LEARNED}, True),
}


@pytest.mark.parametrize(("brokers", "connected"), CONNECTED.values(), ids=CONNECTED.keys())
def test_a_client_is_connected_while_a_member_of_the_cluster_is_up(brokers: dict[str, Any], connected: bool) -> None:
    watch = BrokerWatch()
    assert not watch.connected
    look(watch, brokers)
    assert watch.connected is connected


def test_an_error_of_the_client_counts_until_the_next_statistics() -> None:
    watch = BrokerWatch()
    look(watch, LEARNED)
    watch.disconnected()
    assert not watch.connected
    look(watch, LEARNED)
    assert watch.connected


def test_statistics_go_on_to_the_owner_of_the_client() -> None:
    received: list[ClientStatistics] = []
    watch = BrokerWatch()
    watch.config(received.append)["stats_cb"](orjson.dumps({"brokers": LEARNED}).decode())  # type: ignore[operator]
    assert received == [{"brokers": LEARNED}]
    assert watch.connected


def described(number: int, low: int, high: int, lag: int, state: str = "active") -> dict[str, Any]:
    return {"partition": number, "lo_offset": low, "hi_offset": high, "consumer_lag": lag, "fetch_state": state}


def test_partitions_show_what_is_known_of_them() -> None:
    partitions = {
        "-1": described(-1, -1001, -1001, -1, "none"),
        "0": described(0, 3, 10, 7),
        "1": described(1, -1001, -1001, -1),
        "2": described(2, 0, 5, 5, "none"),
    }
    assert partition_statuses({"topics": {"views": {"partitions": partitions}}}) == {
        Partition("views", 0): PartitionStatus(3, 10, 7),
        Partition("views", 1): PartitionStatus(None, None, None),
        Partition("views", 2): PartitionStatus(0, 5, None),
    }
