"""The client of a Redis that answers on TLS only, to users of an access control list."""

import pytest
from redis import AuthenticationError, ConnectionError, RedisError
from redis.exceptions import NoPermissionError

from gourmetgram.clients import redis
from gourmetgram.settings import RedisSettings
from tests.support.secured.certificates import Certificates
from tests.support.secured.redis import PASSWORD, SecuredRedis

pytestmark = pytest.mark.servers


def settings_of(server: SecuredRedis, certificates: Certificates, **changes: str) -> RedisSettings:
    return RedisSettings.load({**server.environment(certificates.authority), **changes})


def test_a_user_writes_and_reads_over_tls(secured_redis: SecuredRedis, certificates: Certificates) -> None:
    with redis.connect(settings_of(secured_redis, certificates), redis.WORKER, decode_responses=True) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == "hello"
        with pytest.raises(NoPermissionError):
            client.config_get("maxmemory")


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"REDIS_PASSWORD": "another"}, AuthenticationError, "invalid username-password pair"),
        ({"REDIS_USERNAME": ""}, AuthenticationError, "invalid username-password pair"),
        ({"REDIS_TLS": "false"}, ConnectionError, "."),
        ({"REDIS_CA_LOCATION": ""}, ConnectionError, "certificate verify failed"),
    ],
)
def test_a_wrong_setting_is_refused_without_the_password(
    secured_redis: SecuredRedis, certificates: Certificates, changes: dict[str, str], error: type[RedisError], text: str
) -> None:
    settings = settings_of(secured_redis, certificates, **changes)
    with redis.connect(settings, redis.WORKER) as client, pytest.raises(error, match=text) as refused:
        client.ping()
    assert PASSWORD not in f"{refused.value!r} {settings!r} {client!r}"
