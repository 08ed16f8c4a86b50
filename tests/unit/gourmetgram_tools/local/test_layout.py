"""Names, folders and ports of stacks, without starting anything."""

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gourmetgram_tools.local import ports
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.kafka import new_cluster_id
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.ports import Ports
from gourmetgram_tools.local.stack import Stack


class BindsAlways(socket.socket):
    def bind(self, _address: Any) -> None:
        """Find no port taken."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_the_default_stack_has_the_ports_that_the_lab_publishes(tmp_path: Path) -> None:
    assert Stack("default", tmp_path).ports == Ports(
        api=8000,
        postgres=5432,
        redis=6379,
        kafka=19092,
        kafka_controller=19093,
        minio=9000,
        minio_console=9001,
        stream_consumer=9101,
        risk_scoring_service=9102,
        data_generator=9103,
    )


def test_another_stack_gets_free_ports_once_and_remembers_them(tmp_path: Path) -> None:
    chosen = Stack("mine", tmp_path).ports
    assert Stack("mine", tmp_path).ports == chosen
    assert not set(vars(chosen).values()) & set(vars(Ports()).values())


def test_two_stacks_never_share_a_port(tmp_path: Path) -> None:
    plans = [set(vars(Stack(name, tmp_path).ports).values()) for name in ("one", "two", "three")]
    assert len(set().union(*plans)) == sum(map(len, plans))


def test_a_port_can_be_chosen_and_is_remembered(tmp_path: Path) -> None:
    Stack("default", tmp_path).use_port("postgres", 15432)
    changed = Stack("default", tmp_path)
    assert changed.ports.postgres == 15432
    assert ":15432/" in changed.environment()["DATABASE_URL"]


def test_an_unknown_port_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"no port 'postgresql': the names are api, postgres, redis"):
        Stack("default", tmp_path).use_port("postgresql", 15432)


def test_looking_at_a_stack_that_was_never_up_says_how_to_create_it(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"no stack 'nope' .*`gourmetgram --stack nope up`"):
        Stack.load("nope", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "Big", "a b", "../x", "-x", "x" * 41])
def test_a_name_that_could_leave_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no name for a stack"):
        Stack(name, tmp_path)


def test_a_damaged_plan_is_named_and_not_overwritten(tmp_path: Path) -> None:
    damaged = tmp_path / "mine" / "stack.json"
    damaged.parent.mkdir()
    damaged.write_text('{"ports": {"api": 1}')
    with pytest.raises(StackError, match=r"stack\.json does not describe a stack"):
        _ = Stack("mine", tmp_path).ports
    assert damaged.read_text() == '{"ports": {"api": 1}'


def test_the_plan_file_can_be_read_by_a_person(tmp_path: Path) -> None:
    stack = Stack("mine", tmp_path)
    content = json.loads((stack.folder / "stack.json").read_text()) if stack.ports else {}
    assert content["name"] == "mine"
    assert content["ports"]["postgres"] == stack.ports.postgres


def test_the_control_socket_has_a_short_path_wherever_the_checkout_is(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    assert len(os.fsencode(Layout("mine", deep).supervisor_socket)) < 100
    assert Layout("mine", deep).supervisor_socket != Layout("other", deep).supervisor_socket


def test_the_control_socket_fits_a_system_with_a_long_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on macOS, where a socket's path may have 103 bytes; supervisord appends its process id for a moment.
    monkeypatch.setattr(tempfile, "tempdir", "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T")
    layout = Layout("n" * 40, tmp_path / ("d" * 90))
    assert len(os.fsencode(layout.supervisor_socket)) + len(".1234567") <= 103


def test_a_server_on_all_addresses_is_seen_where_a_second_one_could_listen_beside_it(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As macOS, which allows 127.0.0.1 to another program then.
    monkeypatch.setattr(socket, "socket", BindsAlways)
    assert not ports.is_free(listener.getsockname()[1])
    listener.close()
    assert ports.is_free(ports.choose_free().api)


def test_the_holder_is_found_where_the_system_tells_only_about_ones_own_processes(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    port = listener.getsockname()[1]
    assert ports.holder(port).pid == os.getpid()
    listener.close()
    assert str(ports.holder(port)) == "another program"


def test_a_port_on_which_somebody_listens_is_not_free_and_its_holder_is_known(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert not ports.is_free(port)
    assert ports.holder(port).pid == os.getpid()
    listener.close()
    assert ports.is_free(port)


def test_chosen_ports_leave_out_those_of_other_stacks() -> None:
    first = set(vars(ports.choose_free()).values())
    for _attempt in range(20):
        assert not first & set(vars(ports.choose_free(first)).values())


def test_a_cluster_id_is_never_read_as_an_option() -> None:
    identities = {new_cluster_id() for _attempt in range(500)}
    assert len(identities) == 500
    assert all(len(identity) == 22 and not identity.startswith("-") for identity in identities)
