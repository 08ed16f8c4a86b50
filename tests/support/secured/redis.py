"""Redis that answers on TLS only, and a user without the administrator's commands."""

from collections.abc import Mapping
from pathlib import Path

from redis import RedisError

from gourmetgram.clients import redis as clients
from gourmetgram.settings import RedisSettings
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.ports import choose_free, listens
from gourmetgram_tools.local.progress import StepReport
from tests.support.secured.certificates import Certificate
from tests.support.secured.programs import redis_server

USER = "platform"
PASSWORD = "redis-secret-of-a-test"


class SecuredRedis(Component):
    """Redis without a plain port and without a user `default`.

    Args:
        layout: paths of the server.
        cache: folder of programs that are fetched once.
        certificate: certificate of the server.
        authority: file of the authority that issued it.
        checks: False = its certificate is wrong, so that only an open port shows that it runs.
    """

    name = "redis"
    title = "Redis"

    def __init__(
        self, layout: Layout, cache: Path, certificate: Certificate, authority: Path, *, checks: bool = True
    ) -> None:
        self._folder = layout.folder / "redis"
        self._program, self._libraries = redis_server(cache)
        self._certificate = certificate
        self._authority = authority
        self._checks = checks
        self.port = choose_free().redis

    @property
    def ports(self) -> Mapping[str, int]:
        """Its only port, for TLS."""
        return {"Redis": self.port}

    @property
    def _users(self) -> Path:
        return self._folder / "users.acl"

    def prepare(self, report: StepReport) -> None:
        """Write the access control list."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._users.write_text(f"user default off\nuser {USER} on >{PASSWORD} ~* &* +@all -@admin\n")

    def program(self) -> Program:
        """Server with its settings on the command line."""
        return Program(
            command=(
                str(self._program),
                *("--bind", self.host, "--port", "0", "--tls-port", str(self.port)),
                *("--tls-cert-file", str(self._certificate.certificate), "--tls-key-file", str(self._certificate.key)),
                *("--tls-ca-cert-file", str(self._authority), "--tls-auth-clients", "no"),
                *("--aclfile", str(self._users)),
                *("--appendonly", "yes", "--dir", str(self._folder)),
            ),
            directory=self._folder,
            environment={"LD_LIBRARY_PATH": str(self._libraries)},
        )

    def healthy(self) -> bool:
        """Probe that it answers the platform's own client."""
        if not self._checks:
            return listens("localhost", self.port)
        client = clients.connect(RedisSettings.load(self.environment(self._authority)), clients.WORKER)
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            client.close()

    def environment(self, authority: Path) -> dict[str, str]:
        """Variables of `RedisSettings`."""
        return {
            "REDIS_HOST": "localhost",
            "REDIS_PORT": str(self.port),
            "REDIS_DB": "0",
            "REDIS_USERNAME": USER,
            "REDIS_PASSWORD": PASSWORD,
            "REDIS_TLS": "true",
            "REDIS_CA_LOCATION": str(authority),
        }
