"""When a Kafka client counts as lost: only when it knows no server, and does so for a while."""

from typing import Any

import orjson
import pytest

from gourmetgram.errors import PlatformError
from gourmetgram.kafka import BrokerWatch

LEARNED = {"localhost:9092/1": {"source": "learned", "state": "UP"}}
BOOTSTRAP = {"localhost:9092/bootstrap": {"source": "configured", "state": "DOWN"}}
COORDINATOR = {"GroupCoordinator": {"source": "logical", "state": "INIT"}}


def look(watch: BrokerWatch, *brokers: dict[str, Any]) -> None:
    merged = {name: broker for some in brokers for name, broker in some.items()}
    watch.look({"brokers": merged})


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
