"""Keys of Redis come back with their values and times to live, as they were while nothing could change them."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from gourmetgram.clients.redis import TOOL
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.errors import PermanentError
from gourmetgram.redis_keys import OFFSETS, ORIGINS
from gourmetgram.settings import RedisSettings
from gourmetgram_tools.backup.keys import count_keys, paused_redis, restore_keys

pytestmark = pytest.mark.servers


@pytest.fixture(name="settings")
def settings_fixture(redis_environment: dict[str, str], redis_client: Redis) -> RedisSettings:
    redis_client.flushdb()
    return RedisSettings.load(redis_environment)


def _dump(settings: RedisSettings, file: Path) -> int:
    with paused_redis(settings) as redis:
        return redis.dump(file, lambda _text: None)


def test_values_and_times_to_live_come_back(settings: RedisSettings, redis_client: Redis, tmp_path: Path) -> None:
    redis_client.set("total", 5, ex=1_000)
    redis_client.zadd("window", {"a": 1763700000.123456, "b": 2.5})
    redis_client.hset(OFFSETS, mapping={"gourmetgram.views/0": 17})
    redis_client.set(b"\xff binary", b"\x00\xff")
    redis_client.mset({f"key {number}": number for number in range(3_000)})
    assert _dump(settings, tmp_path / "keys") == 3_004
    redis_client.flushdb()
    restore_keys(settings, tmp_path / "keys")
    assert count_keys(settings) == 3_004
    assert redis_client.get("total") == "5"
    assert 900 < redis_client.ttl("total") <= 1_000
    assert redis_client.ttl("window") == -1
    assert redis_client.zscore("window", "a") == 1763700000.123456
    assert redis_client.hgetall(OFFSETS) == {"gourmetgram.views/0": "17"}
    assert redis_client.get("key 2999") == "2999"


def test_ids_of_topics_stay_behind_because_restored_topics_have_others(
    settings: RedisSettings, redis_client: Redis, tmp_path: Path
) -> None:
    redis_client.hset(ORIGINS, mapping={"gourmetgram.views/0": "topic:old"})
    _dump(settings, tmp_path / "keys")
    redis_client.flushdb()
    restore_keys(settings, tmp_path / "keys")
    assert count_keys(settings) == 0


def test_no_write_happens_between_the_first_key_and_the_last(
    settings: RedisSettings, redis_client: Redis, tmp_path: Path
) -> None:
    written = threading.Event()

    def write() -> None:
        redis_client.incr("counter")
        written.set()

    with paused_redis(settings) as redis:
        writer = threading.Thread(target=write)
        writer.start()
        assert redis.dump(tmp_path / "keys", lambda _text: None) == 0
        assert not written.is_set()
    writer.join()
    assert redis_client.get("counter") == "1"


def test_a_value_in_the_form_of_another_server_is_refused(settings: RedisSettings, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    foreign = pa.table({"key": [b"key"], "ttl_ms": [-1], "payload": [b"\x00\x01v\xff\xff12345678"]})
    pq.write_table(foreign, tmp_path / "keys")
    with pytest.raises(PermanentError, match="Restore on the same kind"):
        restore_keys(settings, tmp_path / "keys")


@pytest.fixture(name="two")
def two_fixture(settings: RedisSettings) -> Iterator[RedisSettings]:
    """Two databases in the place of two servers."""
    server, number = f"redis://{settings.redis_host}:{settings.redis_port}", settings.redis_db
    both = RedisSettings(redis_urls=(f"{server}/{number}", f"{server}/{1001 + number % 20}"))
    with closing(RedisServers.connect(both, TOOL)) as servers:
        for client in servers.clients:
            client.flushdb()
        yield both
        for client in servers.clients:
            client.flushdb()


def test_each_server_gets_its_own_keys_back(two: RedisSettings, tmp_path: Path) -> None:
    with closing(RedisServers.connect(two, TOOL, decode_responses=True)) as servers:
        servers.check(claim=True)
        for index, client in enumerate(servers.clients):
            client.hset(OFFSETS, f"gourmetgram.views/{index}", index)
        assert _dump(two, tmp_path / "keys") == 4
        for client in servers.clients:
            client.flushdb()
        restore_keys(two, tmp_path / "keys")
        held = [client.hgetall(OFFSETS) for client in servers.clients]
        servers.check()
    assert held == [{"gourmetgram.views/0": "0"}, {"gourmetgram.views/1": "1"}]


def test_keys_of_two_servers_are_not_restored_to_one(
    two: RedisSettings, settings: RedisSettings, tmp_path: Path
) -> None:
    _dump(two, tmp_path / "keys")
    with pytest.raises(PermanentError, match="2 Redis servers, and 1 are set"):
        restore_keys(settings, tmp_path / "keys")
    assert count_keys(settings) == 0
