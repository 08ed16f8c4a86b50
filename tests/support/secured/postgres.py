"""PostgreSQL that takes connections over TLS only."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2

from gourmetgram.database.roles import Role
from gourmetgram_tools.local.component import Program
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.ports import choose_free
from gourmetgram_tools.local.postgres import DATABASE, PASSWORD, USER, Postgres
from gourmetgram_tools.local.progress import StepReport
from tests.support.secured.certificates import Certificate
from tests.support.secured.programs import postgres_install


class SecuredPostgres(Postgres):
    """PostgreSQL with TLS and with the local stack's contents.

    Args:
        layout: paths of the server.
        certificate: certificate of the server.
        authority: file of the authority that issued it.
    """

    def __init__(self, layout: Layout, certificate: Certificate, authority: Path) -> None:
        port = choose_free().postgres
        super().__init__(layout, port)
        self._programs = postgres_install(self._home.parent)
        self._certificate = certificate
        self._authority = authority

    @property
    def port(self) -> int:
        """Its only port."""
        return self._port

    @property
    def _install(self) -> Path:
        return self._programs

    def obtain(self, report: StepReport) -> None:
        """Nothing: the programs are fetched."""

    def _initdb(self, folder: Path) -> None:
        super()._initdb(folder)
        for name, file in (("server.crt", self._certificate.certificate), ("server.key", self._certificate.key)):
            shutil.copyfile(file, folder / name)
            self._own(folder / name)

    def _own(self, file: Path) -> None:
        """Give a file to the server's user; others cannot read it."""
        file.chmod(0o600)
        if self._account is not None:
            shutil.chown(file, self._account.pw_uid, self._account.pw_gid)

    def program(self) -> Program:
        """Server with TLS."""
        plain = super().program()
        return Program(
            command=(*plain.command, "-c", "ssl=on"),
            directory=plain.directory,
            user=plain.user,
            stop_signal=plain.stop_signal,
            stop_group=plain.stop_group,
            stop_seconds=plain.stop_seconds,
        )

    def initialise(self, report: StepReport) -> None:
        """Create the contents, and then close the server to connections without TLS."""
        super().initialise(report)
        (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        with closing(psycopg2.connect(self.url())) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_reload_conf()")

    def url(self, database: str = DATABASE) -> str:
        """URL with a check of the certificate and of the host's name."""
        query = f"sslmode=verify-full&sslrootcert={quote(str(self._authority), safe='')}"
        return f"postgresql://{USER}:{PASSWORD}@localhost:{self._port}/{database}?{query}"

    def environment(self, role: Role | None = None) -> dict[str, str]:
        """Variables of `PostgresSettings`, with the login of a role or of the owner."""
        return {"DATABASE_URL": self.url() if role is None else self.role_url(role)}

    @contextmanager
    def removed_at_the_end(self) -> Iterator[None]:
        """Remove its files at the end of the block: as root, they are outside of the test's folder."""
        try:
            yield
        finally:
            shutil.rmtree(self._home, ignore_errors=True)
