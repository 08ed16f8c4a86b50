"""Configuration of supervisord, and its control over a Unix socket."""

import http.client
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from gourmetgram.files import replace_file
from gourmetgram.waiting import wait_for
from gourmetgram_tools.local.component import Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.services import inherited_environment

FOLDER_VARIABLE: Final = "GOURMETGRAM_STACK_FOLDER"
"""Variable that marks every process of a stack, to find those that outlived their supervisor."""

_LAUNCH_DEADLINE_S: Final = 10.0
_POLL_S: Final = 0.05
# Earlier versions ran Redis itself, and their processes may still be running.
_RENAMED: Final = ("postgres", "redis-server", "valkey-server")

_SUPERVISOR_SECTIONS = """\
[supervisord]
identifier = {identity}
logfile = {logs}/supervisord.log
logfile_maxbytes = 10MB
logfile_backups = 3
pidfile = {folder}/supervisord.pid
childlogdir = {logs}
minfds = 1024
{user}
[unix_http_server]
file = {socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# `startretries` counts starts that failed within `startsecs`; the pause before the n-th is n seconds.
_PROGRAM_SECTION = """
[program:{name}]
command = {command}
directory = {directory}
environment = {environment}
{user}priority = {priority}
autostart = false
autorestart = true
startsecs = 1
startretries = 30
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
stopasgroup = {stop_group}
killasgroup = true
redirect_stderr = true
stdout_logfile = {log_file}
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def render_config(layout: Layout, programs: Mapping[str, Program], as_root: bool) -> str:
    """Text of the configuration file.

    Args:
        layout: paths of the stack.
        programs: programs by name, in the order of their start; they stop in the reverse order.
        as_root: True when supervisord runs as root, which its configuration must state.

    Raises:
        StackError: a variable's value cannot be written in this format.
    """
    sections = [
        _SUPERVISOR_SECTIONS.format(
            identity=_escape(layout.identity),
            logs=_escape(str(layout.logs)),
            folder=_escape(str(layout.folder)),
            socket=_escape(str(layout.supervisor_socket)),
            user="user = root\n" if as_root else "",
        )
    ]
    for priority, (name, program) in enumerate(programs.items(), start=1):
        variables = {**program.environment, FOLDER_VARIABLE: str(layout.folder)}
        sections.append(
            _PROGRAM_SECTION.format(
                name=name,
                command=_escape(shlex.join(program.command)),
                directory=_escape(str(program.directory)),
                environment=",".join(f"{key}={_quote(key, variables[key])}" for key in sorted(variables)),
                user=f"user = {program.user}\n" if program.user else "",
                priority=priority,
                stop_signal=program.stop_signal,
                stop_seconds=program.stop_seconds,
                stop_group=str(program.stop_group).lower(),
                log_file=_escape(str(layout.logs / f"{name}.log")),
            )
        )
    return "".join(sections)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _quote(name: str, value: str) -> str:
    """Quote a value for supervisord, which strips quotes, knows no escapes, and cuts off apparent comments."""
    quote = '"' if '"' not in value else "'"
    if quote in value or re.search(r"[\r\n]|\s[;#]", value) or value != value.strip("\"'"):
        raise StackError(
            f"The value of {name} cannot be passed on: quotes at its ends, both kinds of quotes, line ends, "
            "and ; or # after a space are not possible."
        )
    return quote + _escape(value) + quote


@dataclass(frozen=True)
class ProcessState:
    """State of a program in supervisord, e.g. RUNNING or BACKOFF."""

    state: str
    pid: int | None
    error: str


class Supervisor:
    """Control of one stack's supervisord.

    Args:
        layout: paths of the stack.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - each method answers in its own type
        refuse_foreign_folder(self._layout.supervisor_socket.parent)
        transport = SupervisorTransport(None, None, f"unix://{self._layout.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def running(self) -> bool:
        """Return whether supervisord answers. The socket file of a crashed one counts as not running."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.ProtocolError):
            return False

    def write_config(self, text: str) -> None:
        """Replace the configuration file; nothing changes in a running supervisord."""
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        # The variables hold passwords.
        replace_file(self._layout.supervisor_config, text, mode=0o600)

    def launch(self) -> None:
        """Start supervisord in the background, without any program.

        Raises:
            StackError: it did not start.
        """
        self._layout.supervisor_socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_foreign_folder(self._layout.supervisor_socket.parent)
        answer = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._layout.supervisor_config)],
            env=inherited_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        failure = StackError(f"supervisord did not start: {(answer.stderr or answer.stdout).strip()}")
        if answer.returncode:
            raise failure
        wait_for(self.running, deadline_s=_LAUNCH_DEADLINE_S, every_s=_POLL_S, late=lambda _running: failure)

    def shut_down(self, deadline_s: float) -> None:
        """Stop every program in order, then supervisord; processes left after the deadline are killed."""
        try:
            pid = int(self._call("getPID"))
            self._call("shutdown")
        except (OSError, xmlrpc.client.Error):
            return
        with suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(pid)

            def ended() -> bool:
                # Its exit leaves a zombie until its parent collects it.
                if supervisor.status() == psutil.STATUS_ZOMBIE:
                    return True
                # It notices the end of a program once a second, or at a request.
                with suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
                    self._call("getState")
                return False

            try:
                wait_for(ended, deadline_s=deadline_s, every_s=_POLL_S, late=lambda _ended: TimeoutError())
            except TimeoutError:
                kill_tree(pid)

    def states(self) -> dict[str, ProcessState]:
        """States of all programs by name; empty when supervisord does not run."""
        try:
            infos = self._call("getAllProcessInfo")
        except (OSError, xmlrpc.client.ProtocolError):
            return {}
        return {info["name"]: ProcessState(info["statename"], info["pid"] or None, info["spawnerr"]) for info in infos}

    def apply(self, name: str) -> bool:
        """Reload one program's section of the configuration file; a changed program is stopped.

        Returns:
            True when the program changed.
        """
        added, changed, _removed = self._call("reloadConfig")[0]
        if name in changed:
            with suppress(xmlrpc.client.Fault):
                self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        if name in changed or name in added:
            self._call("addProcessGroup", name)
        return name in changed

    def start(self, name: str) -> None:
        """Start a program without a wait for it; a running one stays as it is."""
        self._tolerating(Faults.ALREADY_STARTED, "startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop a program and wait until it is gone; a stopped one stays as it is."""
        self._tolerating(Faults.NOT_RUNNING, "stopProcess", name, True)

    def _tolerating(self, fault_code: int, method: str, *arguments: object) -> None:
        try:
            self._call(method, *arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != fault_code:
                raise StackError(f"supervisord refused to {method} {arguments[0]}: {fault.faultString}") from fault


def refuse_foreign_folder(folder: Path) -> None:
    """Check the folder of a socket below the folder that all users share; any other folder is the stack's own.

    Another user can make the folder first, and answer on the socket in the supervisor's place.

    Raises:
        StackError: the folder is a link, another user's, or writable for others.
    """
    if folder.parent != Path(tempfile.gettempdir()):
        return
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StackError(
            f"{folder} is not a folder that only you can write to: delete it, or have its owner do so, and try again. "
            "A shorter path of the checkout, or of GOURMETGRAM_STACK_HOME, needs no such folder."
        )


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants, the process first; empty when it is gone.

    PostgreSQL's workers leave their parent's process group, so the group alone is not enough.
    """
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all its descendants, and wait until they are gone."""
    processes = process_tree(pid)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def survivors(layout: Layout) -> dict[int, str]:
    """Processes of this stack by id, with their names; without a supervisord, those that outlived it.

    PostgreSQL and Valkey overwrite their environment with their status line; their working folder identifies them.
    """
    folder = str(layout.folder)
    data_folders = (str(layout.folder / "redis"), str(layout.postgres_home / "data"))
    found = {}
    for process in psutil.process_iter():
        try:
            name = process.name()
            if name in _RENAMED:
                belongs = process.cwd() in data_folders
            else:
                belongs = process.environ().get(FOLDER_VARIABLE) == folder
        except (psutil.Error, OSError):
            continue
        if belongs:
            found[process.pid] = name
    return found
