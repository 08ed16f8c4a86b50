"""Docker: the engine from Debian's packages, its plugins from a newer release's, and the running daemon."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from gourmetgram_tools.local.progress import StepReport
from rehearsal import debian, shell
from rehearsal.errors import RehearsalError

# Debian 12 has only the old Python docker-compose; its successor has the plugins, as programs that run here too.
_PLUGIN_SUITE = "trixie"
_PLUGINS = {"compose": "docker-compose", "buildx": "docker-buildx"}
_PLUGIN_FOLDER = Path("/usr/local/lib/docker/cli-plugins")
_LOG = Path("/var/log/gourmetgram-dockerd.log")
_PID_FILE = Path("/var/run/docker.pid")
_START_S = 60.0


def ensure(report: StepReport) -> None:
    """Have a running Docker with `docker compose`; what is there already is left alone.

    Raises:
        RehearsalError: it cannot be installed or started.
    """
    if shutil.which("docker") is None or (shutil.which("dockerd") is None and not answers()):
        report("installing docker.io")
        debian.install("docker.io", "iptables")
    for command, package in _PLUGINS.items():
        if shell.run(["docker", command, "version"]).code != 0:
            report(f"fetching the plugin {command}")
            _need_root(f"Installing the plugin {command}")
            member = f"usr/libexec/docker/cli-plugins/{package}"
            debian.extract_from_release(_PLUGIN_SUITE, package, member, _PLUGIN_FOLDER / package)
    if not answers():
        report("starting the daemon")
        start()


def versions() -> str:
    """Versions of engine and plugin, for the report."""
    engine = shell.check(["docker", "version", "--format", "{{.Server.Version}}"]).strip()
    plugin = shell.check(["docker", "compose", "version", "--short"]).strip()
    return f"Docker Engine {engine}, compose {plugin}"


def answers() -> bool:
    """Whether a daemon answers."""
    return (
        shutil.which("docker") is not None and shell.run(["docker", "version", "-f", "{{.Server.Version}}"]).code == 0
    )


def start() -> None:
    """Start the daemon, by systemd where that runs, else as a process of its own session.

    Raises:
        RehearsalError: it did not answer in time; the text holds its last log lines.
    """
    _need_root("Starting the Docker daemon")
    if _has_systemd():
        shell.check(["systemctl", "start", "docker"])
    else:
        _forget_a_dead_daemon()
        with _LOG.open("ab") as log:
            # Forked off: a child of ours would stay as a zombie when it is stopped.
            subprocess.run(
                ["setsid", "--fork", "dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
            )
    deadline = time.monotonic() + _START_S
    while not answers():
        if time.monotonic() > deadline:
            last = _LOG.read_text(errors="replace").splitlines()[-8:] if _LOG.exists() else ["see journalctl -u docker"]
            raise RehearsalError("The Docker daemon does not start:\n" + "\n".join(last))
        time.sleep(0.5)


def restart() -> None:
    """Stop the daemon as an administrator or a reboot would, and start it again.

    Raises:
        RehearsalError: it does not stop or start.
    """
    _need_root("Restarting the Docker daemon")
    if _has_systemd():
        shell.check(["systemctl", "restart", "docker"])
        return
    process = int(_PID_FILE.read_text())
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + _START_S
    while Path(f"/proc/{process}").exists():
        if time.monotonic() > deadline:
            raise RehearsalError(f"The Docker daemon (process {process}) does not stop.")
        time.sleep(0.2)
    start()


def _forget_a_dead_daemon() -> None:
    """Delete the file with the number of a daemon that a power cut ended: another process may have that number now."""
    with contextlib.suppress(FileNotFoundError):
        process = _PID_FILE.read_text().strip()
        name = Path(f"/proc/{process}/comm")
        if not name.exists() or name.read_text().strip() != "dockerd":
            _PID_FILE.unlink()


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise RehearsalError(f"{what} needs root: run the rehearsal as root, or with sudo.")
