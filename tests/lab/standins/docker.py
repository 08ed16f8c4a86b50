"""Docker: the engine from Debian's packages, its plugins from a newer release's, and the running daemon."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from gourmetgram_tools.local.progress import StepReport
from tests.lab.commands import check, run
from tests.lab.expectations import NotSeenError, RehearsalError, expect, until
from tests.lab.standins import debian

# Debian 12 has only the old Python docker-compose. The next release's plugins are programs that run here too.
_PLUGIN_SUITE = "trixie"
_PLUGINS = {"compose": "docker-compose", "buildx": "docker-buildx"}
_PLUGIN_FOLDER = Path("/usr/local/lib/docker/cli-plugins")
_LOG = Path("/var/log/gourmetgram-dockerd.log")
_PID_FILE = Path("/var/run/docker.pid")
_START_S = 60.0


def ensure(report: StepReport) -> str:
    """Install and start Docker with `docker compose`, as far as they are missing; return their versions.

    Raises:
        RehearsalError: Docker cannot be installed or started.
    """
    if shutil.which("docker") is None or (shutil.which("dockerd") is None and not answers()):
        report("installing docker.io")
        debian.install("docker.io", "iptables")
    for command, package in _PLUGINS.items():
        if run("docker", command, "version").code != 0:
            report(f"fetching the plugin {command}")
            member = f"usr/libexec/docker/cli-plugins/{package}"
            debian.extract_from_release(_PLUGIN_SUITE, package, member, _PLUGIN_FOLDER / package)
    if not answers():
        report("starting the daemon")
        start()
    engine = check("docker", "version", "--format", "{{.Server.Version}}")
    return f"Docker Engine {engine}, compose {check('docker', 'compose', 'version', '--short')}"


def answers() -> bool:
    """Tell if a daemon answers."""
    return shutil.which("docker") is not None and run("docker", "version", "-f", "{{.Server.Version}}").code == 0


def start() -> None:
    """Start the daemon: by systemd, or without it as a process of its own session.

    Raises:
        RehearsalError: the daemon did not answer in time; the text holds its last log lines.
    """
    debian.need_root("Starting the Docker daemon")
    if _has_systemd():
        check("systemctl", "start", "docker")
    else:
        _remove_stale_pid_file()
        with _LOG.open("ab") as log:
            # Forked off: a child of this process would stay as a zombie when it is stopped.
            subprocess.run(
                ["setsid", "--fork", "dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
            )
    try:
        until(lambda: expect(answers(), "The Docker daemon does not answer"), _START_S)
    except NotSeenError as error:
        last = _LOG.read_text(errors="replace").splitlines()[-8:] if _LOG.exists() else ["see journalctl -u docker"]
        raise RehearsalError("\n".join([str(error), *last])) from error


def restart() -> None:
    """Stop the daemon as a reboot does, and start it again.

    Raises:
        PlatformError: the daemon does not stop or start.
    """
    debian.need_root("Restarting the Docker daemon")
    if _has_systemd():
        check("systemctl", "restart", "docker")
        return
    process = int(_PID_FILE.read_text())
    os.kill(process, signal.SIGTERM)
    gone = f"The Docker daemon (process {process}) does not stop"
    until(lambda: expect(not Path(f"/proc/{process}").exists(), gone), _START_S)
    start()


def _remove_stale_pid_file() -> None:
    """Delete the pid file of a daemon that a power cut ended: another process may have that number now."""
    with contextlib.suppress(FileNotFoundError):
        name = Path(f"/proc/{_PID_FILE.read_text().strip()}/comm")
        if not name.exists() or name.read_text().strip() != "dockerd":
            _PID_FILE.unlink()


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()
