"""The doctor fails for each published password behind a port that other machines reach, whatever the others are."""

import socket
from typing import NamedTuple

import psutil
import pytest

from gourmetgram.database.roles import RoleSettings
from gourmetgram.object_users import ObjectUserSettings
from gourmetgram_tools.compose.passwords import PASSWORDS
from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.doctor.exposure import check_exposure, machine_addresses, reachable
from gourmetgram_tools.doctor.findings import Finding, Level

PUBLIC, PRIVATE = "203.0.114.7", "10.20.30.40"
OWN = {name.lower(): "own" for name in PASSWORDS}
TYPED = (
    *("POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "NIMTABLE_PASSWORD"),
    "NIMTABLE_DB_PASSWORD",
)
SERVICES = ("Logins in PostgreSQL", "Logins in MinIO")


def _problems(lab: ComposeSettings, *addresses: str) -> dict[str, Finding]:
    return {each.check: each for each in check_exposure(lab, addresses) if each.level is Level.PROBLEM}


def test_pages_on_the_loopback_address_are_well_with_published_passwords() -> None:
    for bind in ("127.0.0.1", "localhost", "::1", "[::1]"):
        (finding,) = check_exposure(ComposeSettings(ui_bind=bind), [PUBLIC])
        assert finding.level is Level.OK


def test_a_machine_without_a_network_is_well() -> None:
    (finding,) = check_exposure(ComposeSettings(), [])
    assert finding.level is Level.OK


@pytest.mark.parametrize("address", [PUBLIC, PRIVATE])
def test_the_lab_s_defaults_are_a_problem_for_each_published_password(address: str) -> None:
    problems = _problems(ComposeSettings(), address)
    assert list(problems) == [*TYPED, *SERVICES]
    assert f"airflow-webserver {address}:8080" in problems["AIRFLOW_ADMIN_PASSWORD"].seen
    assert f"minio {address}:9001" in problems["MINIO_ROOT_PASSWORD"].seen
    assert f"adminer {address}:5050" in problems["POSTGRES_PASSWORD"].seen
    assert f"nimtable-web {address}:3000" in problems["NIMTABLE_PASSWORD"].seen
    for finding in problems.values():
        assert "UI_BIND=127.0.0.1" in finding.advice
        assert "SSH tunnel" in finding.advice
        assert "gourmetgram generate-passwords" in finding.advice


@pytest.mark.parametrize("changed", TYPED)
def test_one_own_password_makes_only_itself_well(changed: str) -> None:
    problems = _problems(ComposeSettings.model_validate({changed.lower(): "own"}), PUBLIC)
    assert list(problems) == [*(name for name in TYPED if name != changed), *SERVICES]


@pytest.mark.parametrize("left", TYPED)
def test_one_published_password_is_enough_for_a_problem(left: str) -> None:
    lab = ComposeSettings.model_validate({name: value for name, value in OWN.items() if name != left.lower()})
    assert list(_problems(lab, PUBLIC)) == [left]


@pytest.mark.parametrize(
    ("left", "check", "container"),
    [
        *((name.upper(), "Logins in PostgreSQL", "adminer") for name in RoleSettings.model_fields),
        *((name.upper(), "Logins in MinIO", "minio") for name in ObjectUserSettings.model_fields),
    ],
)
def test_a_published_password_of_a_service_is_a_problem_of_its_server(left: str, check: str, container: str) -> None:
    lab = ComposeSettings.model_validate({name: value for name, value in OWN.items() if name != left.lower()})
    (finding,) = _problems(lab, PUBLIC).values()
    assert finding.check == check
    assert f"The values of {left} are published" in finding.seen
    assert f"{container} {PUBLIC}:" in finding.seen


def test_own_passwords_leave_a_warning_about_pages_without_a_login() -> None:
    (finding,) = check_exposure(ComposeSettings.model_validate(OWN), [PUBLIC])
    assert finding.level is Level.WARNING
    assert "redisinsight" in finding.seen
    assert "Security groups" in finding.advice


def test_servers_that_ask_for_no_password_must_not_be_open() -> None:
    lab = ComposeSettings.model_validate({**OWN, "ui_bind": "127.0.0.1", "data_bind": "0.0.0.0"})
    problems = _problems(lab, PRIVATE)
    assert list(problems) == ["DATA_BIND"]
    assert "redis" in problems["DATA_BIND"].seen
    published = ComposeSettings(ui_bind="127.0.0.1", data_bind="0.0.0.0")
    assert f"postgres {PRIVATE}:5432" in _problems(published, PRIVATE)["POSTGRES_PASSWORD"].seen
    assert "AIRFLOW_ADMIN_PASSWORD" not in _problems(published, PRIVATE)


def test_a_public_address_is_told_from_a_private_one() -> None:
    assert "from anywhere, unless a security group" in _problems(ComposeSettings(), PUBLIC)["NIMTABLE_PASSWORD"].seen
    assert "a floating address" in _problems(ComposeSettings(), PRIVATE)["NIMTABLE_PASSWORD"].seen


def test_generated_passwords_that_were_never_generated_are_a_problem() -> None:
    lab = ComposeSettings.model_validate(
        {**OWN, "lab_passwords": "generated", "nimtable_password": "gourmetgram_nimtable"}
    )
    assert "still have their published value: NIMTABLE_PASSWORD." in _problems(lab, PUBLIC)["LAB_PASSWORDS"].seen


@pytest.mark.parametrize(
    ("bind", "found"),
    [
        ("0.0.0.0", [PRIVATE]),
        ("::", ["2001:db8::1"]),
        (PUBLIC, [PUBLIC]),
        ("127.0.0.2", []),
        ("lab.example.org", ["lab.example.org"]),
    ],
)
def test_a_bind_address_is_reached_under_its_own_family_s_addresses(bind: str, found: list[str]) -> None:
    assert reachable(bind, [PRIVATE, "2001:db8::1"]) == found


class InterfaceAddress(NamedTuple):
    family: int
    address: str


def test_addresses_of_containers_and_of_the_machine_itself_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces = {
        "lo": [InterfaceAddress(socket.AF_INET, "127.0.0.1")],
        "docker0": [InterfaceAddress(socket.AF_INET, "172.17.0.1")],
        "br-0a1b": [InterfaceAddress(socket.AF_INET, "172.18.0.1")],
        "ens3": [
            InterfaceAddress(socket.AF_INET6, "fe80::1%ens3"),
            InterfaceAddress(socket.AF_INET6, "2001:db8::1"),
            InterfaceAddress(socket.AF_INET, PRIVATE),
            InterfaceAddress(psutil.AF_LINK, "fa:16:3e:00:00:01"),
        ],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)
    assert machine_addresses() == [PRIVATE, "2001:db8::1"]
