"""Jupyter on a real stack: its page, its token, and a kernel that reads the catalog."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing

import httpx
import psutil
import pytest
from websocket import create_connection

from gourmetgram_tools.local.jupyter import JUPYTER, WORKSPACE
from gourmetgram_tools.local.stack import Stack
from tests.support.own_stack import own_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

CELL = """
from pyiceberg.catalog import load_catalog
catalog = load_catalog("gourmetgram")
catalog.create_namespace_if_not_exists("moderation")
print(catalog.list_namespaces())
import os, gourmetgram
print(os.environ["MODEL_BUCKET"], os.environ["MODEL_PREFIX"])
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack("own-jupyter", tmp_path_factory.mktemp("home")) as stack:
        stack.up(services=(JUPYTER,))
        yield stack


def address(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports.jupyter}"


@pytest.fixture
def client(own: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address(own), headers={"Authorization": f"token {own.jupyter_token}"}, timeout=30) as it:
        yield it


def printed(stack: Stack, kernel: str, code: str) -> str:
    """Run a cell in a kernel, as a notebook's page does: text that it printed, or its error."""
    place = f"ws://127.0.0.1:{stack.ports.jupyter}/api/kernels/{kernel}/channels?token={stack.jupyter_token}"
    number, text = uuid.uuid4().hex, ""
    header = {"msg_id": number, "msg_type": "execute_request", "session": number, "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    with closing(create_connection(place, timeout=60)) as channel:
        channel.send(json.dumps(message))
        while True:
            answer = json.loads(channel.recv())
            if answer["parent_header"].get("msg_id") != number:
                continue
            text += answer["content"].get("text", "") or "\n".join(answer["content"].get("traceback", ()))
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                return text


def test_the_page_opens_with_the_token_and_only_with_it(own: Stack) -> None:
    page = httpx.get(f"{address(own)}/tree?token={own.jupyter_token}", follow_redirects=True)
    assert (page.status_code, "<title>Home" in page.text) == (200, True)
    assert "/login" in str(httpx.get(f"{address(own)}/tree", follow_redirects=True).url)
    assert httpx.get(f"{address(own)}/api/contents?token=wrong").status_code == 403


def test_the_notebooks_are_those_of_the_checkout(client: httpx.Client) -> None:
    listed = {entry["name"] for entry in client.get("/api/contents").json()["content"]}
    assert {path.name for path in WORKSPACE.glob("*.ipynb")} <= listed


def test_a_cell_loads_the_catalog_of_its_stack(own: Stack, client: httpx.Client) -> None:
    kernel = client.post("/api/kernels", json={"name": "python3"}).json()["id"]
    assert printed(own, kernel, CELL) == "[('moderation',)]\ngourmetgram-datalake models/moderation/\n"


def test_it_comes_back_after_a_kill_with_the_same_token_and_ends_with_its_kernels(
    own: Stack, client: httpx.Client
) -> None:
    before = own.jupyter_token
    own.kill(JUPYTER)
    own.wait_healthy(JUPYTER)
    assert own.jupyter_token == before
    client.post("/api/kernels", json={"name": "python3"}).raise_for_status()
    pid = next(part.pid for part in own.status() if part.name == JUPYTER)
    kernels = psutil.Process(pid).children(recursive=True)
    assert kernels
    own.stop(JUPYTER)
    wait_until(lambda: not any(process.is_running() for process in kernels), what="the end of its kernels")
