"""Notebooks in a running Jupyter server, through the calls that its pages make."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
import websocket

from tests.lab.expectations import NotSeenError, expect

# States that the server reports for a kernel that ended by itself.
_DIED: Final = {"restarting", "autorestarting", "dead"}
_ANSWER_S: Final = 60


class KernelDiedError(NotSeenError):
    """The kernel ended while a cell ran; the server starts another one."""


@dataclass(frozen=True)
class JupyterServer:
    """A server and its token.

    Attributes:
        address: URL without a path.
        token: as the server prints it.
    """

    address: str
    token: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the server's API; return its JSON.

        Raises:
            NotSeenError: the server does not answer, or refuses.
        """
        headers = {"Authorization": f"token {self.token}"}
        try:
            answer = httpx.request(method, f"{self.address}/api/{path}", json=body, headers=headers, timeout=_ANSWER_S)
        except httpx.HTTPError as error:
            raise NotSeenError(f"Jupyter: {path}: {error}") from error
        expect(answer.is_success, f"Jupyter: {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def code_cells(self, notebook: str) -> list[dict[str, Any]]:
        """Code cells of a notebook in the server's folder."""
        cells = self.call("GET", f"contents/{quote(notebook)}")["content"]["cells"]
        return [cell for cell in cells if cell["cell_type"] == "code"]

    @contextmanager
    def open(self, notebook: str) -> Iterator["Kernel"]:
        """Open a notebook with a kernel of its own, which is shut down at the end."""
        body = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
        session = self.call("POST", "sessions", body)
        try:
            yield Kernel(self, session["kernel"]["id"])
        finally:
            with suppress(NotSeenError):
                self.call("DELETE", f"sessions/{session['id']}")


@dataclass(frozen=True)
class Kernel:
    """Kernel of an open notebook.

    Attributes:
        server: its server.
        kernel_id: its id, which stays when the server starts it again.
    """

    server: JupyterServer
    kernel_id: str

    def run(self, code: str, deadline_s: float = 300) -> str:
        """Run a cell; return its printed lines.

        Raises:
            KernelDiedError: the kernel ended.
            NotSeenError: the cell failed, or sent nothing for so many seconds.
        """
        address = self.server.address.replace("http://", "ws://")
        url = f"{address}/api/kernels/{self.kernel_id}/channels?token={self.server.token}"
        try:
            line = websocket.create_connection(url, timeout=deadline_s, suppress_origin=True)
            try:
                return _answers(line, _ask(line, code))
            finally:
                line.close()
        except websocket.WebSocketTimeoutException as error:
            raise NotSeenError(f"The kernel sent nothing for {deadline_s:.0f} s while it ran: {code[:80]}") from error
        except (websocket.WebSocketException, OSError) as error:
            raise NotSeenError(f"Jupyter's connection to the kernel broke: {error}") from error


def source(cell: dict[str, Any]) -> str:
    """Code of a cell."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def _ask(line: Any, code: str) -> str:
    """Send a cell; return the id of the request."""
    number = uuid.uuid4().hex
    header = {
        "msg_id": number,
        "msg_type": "execute_request",
        "username": "rehearsal",
        "session": number,
        "date": datetime.now(UTC).isoformat(),
        "version": "5.3",
    }
    options = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    content = {"code": code, "stop_on_error": True, **options}
    parts = {"parent_header": {}, "metadata": {}, "buffers": [], "channel": "shell"}
    line.send(json.dumps({"header": header, "content": content, **parts}))
    return number


def _answers(line: Any, number: str) -> str:
    """Collect what a request prints, until the kernel is idle again."""
    printed = []
    while True:
        message = json.loads(line.recv())
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] in _DIED:
            raise KernelDiedError(f"the server reports the kernel as {content['execution_state']}")
        if message.get("parent_header", {}).get("msg_id") != number:
            continue
        if kind == "stream":
            printed.append(content["text"])
        elif kind == "error":
            raise NotSeenError(f"A cell failed: {content['ename']}: {content['evalue']}")
        elif kind == "status" and content["execution_state"] == "idle":
            return "".join(printed)
