"""The rule that decides which Redis server holds a key, and the settings that name the servers."""

import uuid

import pytest
from confluent_kafka import murmur2
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.clients.redis_servers import is_at_home, server_of_image, server_of_partition
from gourmetgram.errors import SettingsError
from gourmetgram.settings import RedisSettings


@given(st.uuids(), st.integers(1, 16), st.integers(1, 40))
def test_an_image_is_on_the_server_of_its_partition_however_many_partitions_there_are(
    image: uuid.UUID, servers: int, times: int
) -> None:
    partitions = servers * times
    number = murmur2(str(image).encode(), partitions)
    assert server_of_image(str(image), servers) == server_of_partition(number, servers)
    assert is_at_home(str(image), number, servers)


@given(st.uuids(), st.integers(2, 16))
def test_a_record_in_the_next_partition_is_not_at_home(image: uuid.UUID, servers: int) -> None:
    number = murmur2(str(image).encode(), servers)
    assert not is_at_home(str(image), (number + 1) % servers, servers)


def test_one_server_is_the_default() -> None:
    settings = RedisSettings.load({"REDIS_HOST": "redis", "REDIS_PORT": "6380", "REDIS_DB": "2"})
    assert settings.redis_servers() == (settings,)
    assert settings.redis_addresses == "redis:6380/2"


def test_several_servers_replace_the_one() -> None:
    settings = RedisSettings.load({"REDIS_HOST": "unused", "REDIS_URLS": "redis://a:6380/1, redis://b"})
    assert [(each.redis_host, each.redis_port, each.redis_db) for each in settings.redis_servers()] == [
        ("a", 6380, 1),
        ("b", 6379, 0),
    ]
    assert settings.redis_addresses == "a:6380/1, b:6379/0"


@pytest.mark.parametrize(
    "urls", ["a:6379", "http://a", "redis://user:secret@a", "redis://a/x", "redis://", "redis://a?x=1", "redis://a:0x1"]
)
def test_addresses_of_another_form_are_refused_without_showing_them(urls: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URLS") as refused:
        RedisSettings.load({"REDIS_URLS": urls})
    assert "secret" not in str(refused.value)


def test_a_server_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        RedisSettings.load({"REDIS_URLS": "redis://a,redis://a:6379/0"})
