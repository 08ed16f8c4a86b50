"""SSH server of the stand-in's virtual machines: it records commands, and runs those that need no administrator."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko  # type: ignore[import-untyped]

HOME = "/home/cc"


@dataclass
class Machine:
    """A virtual machine: its home folder is a folder of the test.

    Args:
        folder: stands for the home folder of `cc`.
        key: the one key that opens it.
        environment: variables of its commands.
    """

    folder: Path
    key: paramiko.PKey
    environment: dict[str, str]
    commands: list[str] = field(default_factory=list)
    ssh_port: int = 0

    def run(self, command: str) -> tuple[int, bytes, bytes]:
        """Exit code, output and errors; commands with sudo are only recorded."""
        self.commands.append(command)
        if "sudo" in command:
            return 0, b"", b""
        result = subprocess.run(
            ["bash", "-c", command.replace(HOME, str(self.folder))], env=self.environment, capture_output=True
        )
        return result.returncode, result.stdout, result.stderr


class _Session(paramiko.ServerInterface):  # type: ignore[misc]
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "cc" and key == self.machine.key
        return int(paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._answer, args=(channel, command.decode()), daemon=True).start()
        return True

    def _answer(self, channel: paramiko.Channel, command: str) -> None:
        # An answer to this request shows that the one to the command has left; a channel closed before it is an error.
        channel.get_transport().global_request("keepalive@openssh.com")
        code, output, errors = self.machine.run(command)
        with suppress(OSError):
            channel.sendall(output)
            channel.sendall_stderr(errors)
            channel.send_exit_status(code)
            channel.close()


@contextmanager
def reachable(machine: Machine) -> Iterator[None]:
    """Serve SSH for a machine on a free port of the loopback address."""
    host_key = paramiko.RSAKey.generate(2048)
    transports: list[paramiko.Transport] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(host_key)
            # A probe of the port closes the connection without a word of SSH.
            with suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=_Session(machine))
            transports.append(transport)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        machine.ssh_port = listener.getsockname()[1]
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for transport in transports:
        transport.close()
