"""Check that no other machine reaches a page or a server with a published password, or with none."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import psutil

from gourmetgram.database.roles import RoleSettings
from gourmetgram.object_users import ObjectUserSettings
from gourmetgram.settings import Settings
from gourmetgram_tools.compose.passwords import PASSWORDS, is_published
from gourmetgram_tools.compose.ports import PUBLISHED
from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.doctor.findings import Finding, ok, problem, warning

_CHECK: Final = "Exposure"
_LOGINS: Final = {
    "POSTGRES_PASSWORD": ("adminer", "postgres"),
    "MINIO_ROOT_PASSWORD": ("minio",),
    "AIRFLOW_ADMIN_PASSWORD": ("airflow-webserver",),
    "NIMTABLE_PASSWORD": ("nimtable-web",),
    "NIMTABLE_DB_PASSWORD": ("adminer", "postgres"),
}
"""Containers whose ports ask for each password. Keys are missing here: a start replaces each published one."""
_LOGINS_OF_SERVICES: Final[Mapping[str, tuple[type[Settings], tuple[str, ...]]]] = {
    "Logins in PostgreSQL": (RoleSettings, _LOGINS["POSTGRES_PASSWORD"]),
    "Logins in MinIO": (ObjectUserSettings, _LOGINS["MINIO_ROOT_PASSWORD"]),
}
"""Settings with the passwords of the services' own logins, and the containers whose ports ask for them."""
_WITHOUT_LOGIN: Final = ("api-v2", "redpanda-console", "redisinsight", "nimtable-web")
"""Pages that ask for no password, or answer some requests without one."""
_SERVERS_WITHOUT_LOGIN: Final = ("redis", "redpanda", "nimtable", "mlflow")
_OF_CONTAINERS: Final = ("docker", "br-", "veth", "virbr", "cni", "podman")
"""Beginnings of the names of interfaces between a machine and its containers."""
_TUNNEL: Final = (
    "Set UI_BIND=127.0.0.1 in docker/.env, run `docker compose up -d` again, and use an SSH tunnel "
    "(docs/compose.md, Settings)"
)


def check_exposure(lab: ComposeSettings, addresses: Sequence[str]) -> list[Finding]:
    """Report each published password behind which a port is open to other machines; each is looked at on its own.

    Security groups and firewalls are not visible from the machine, and count as open.

    Args:
        lab: addresses and passwords in use.
        addresses: addresses of the machine, as `machine_addresses` gives them.
    """
    pages, servers = reachable(lab.ui_bind, addresses), reachable(lab.data_bind, addresses)
    if not pages and not servers:
        return [ok(_CHECK, f"Pages listen on {lab.ui_bind}: no other machine reaches them.")]
    findings = [_mismatch(lab), *_published_passwords(lab, pages, servers)]
    if servers:
        findings.append(_open_servers(lab, servers))
    if pages:
        findings.append(_open_pages(pages))
    return [finding for finding in findings if finding]


def reachable(bind: str, addresses: Sequence[str]) -> list[str]:
    """Addresses under which other machines reach ports; none for ports on the loopback address.

    Args:
        bind: address on which the ports are published.
        addresses: addresses of the machine.
    """
    if bind == "localhost":
        return []
    try:
        address = ipaddress.ip_address(bind.strip("[]"))
    except ValueError:
        # A name: where it leads to is not known here.
        return [bind]
    if address.is_loopback:
        return []
    if address.is_unspecified:
        return [each for each in addresses if ipaddress.ip_address(each).version == address.version]
    return [bind]


def machine_addresses() -> list[str]:
    """Addresses of the machine that other machines can reach, without those of containers, IPv4 first."""
    found = [
        ipaddress.ip_address(each.address.partition("%")[0])
        for name, interface in psutil.net_if_addrs().items()
        if not name.startswith(_OF_CONTAINERS)
        for each in interface
        if each.family in (socket.AF_INET, socket.AF_INET6)
    ]
    usable = [address for address in found if not (address.is_loopback or address.is_link_local)]
    return [str(address) for address in sorted(usable, key=lambda address: (address.version, int(address)))]


def _published_passwords(
    lab: ComposeSettings, pages: Sequence[str], servers: Sequence[str]
) -> Iterator[Finding | None]:
    for name, containers in _LOGINS.items():
        if is_published(name, getattr(lab, name.lower())):
            yield _published(name, "Its value is", _open_ports(containers, pages, servers))
    for check, (settings, containers) in _LOGINS_OF_SERVICES.items():
        names = [name.upper() for name in settings.model_fields if is_published(name.upper(), getattr(lab, name))]
        if names:
            subject = f"The values of {', '.join(names)} are"
            yield _published(check, subject, _open_ports(containers, pages, servers))


def _open_ports(containers: Sequence[str], pages: Sequence[str], servers: Sequence[str]) -> dict[str, str]:
    """Addresses of the machine under which the containers' open ports are reached, by container and port."""
    return {
        f"{container} {address}:{port.number}": address
        for port in PUBLISHED
        for container in port.containers
        if container in containers
        for address in (pages if port.is_page else servers)
    }


def _published(check: str, subject: str, places: Mapping[str, str]) -> Finding | None:
    """Finding for published passwords behind open ports; None without such a port."""
    if not places:
        return None
    return problem(
        check,
        f"{subject} published, and other machines reach {', '.join(places)}{_how_far(places.values())}.",
        f"{_TUNNEL}; or run `gourmetgram generate-passwords` before the first start.",
    )


def _how_far(addresses: Iterable[str]) -> str:
    if any(_is_global(address) for address in addresses):
        return " from anywhere, unless a security group or a firewall is in front"
    return " from its network, and from anywhere if the cloud maps a floating address to it"


def _is_global(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_global
    except ValueError:
        return False


def _mismatch(lab: ComposeSettings) -> Finding | None:
    """Finding for a wish in docker/.env that was not carried out."""
    left = [name for name in PASSWORDS if is_published(name, getattr(lab, name.lower()))]
    if lab.lab_passwords == "published" or not left:
        return None
    return problem(
        "LAB_PASSWORDS",
        f"It is `generated`, but these still have their published value: {', '.join(left)}.",
        "Run `gourmetgram generate-passwords` before the first start.",
    )


def _open_servers(lab: ComposeSettings, servers: Sequence[str]) -> Finding:
    return problem(
        "DATA_BIND",
        f"It is {lab.data_bind}: other machines reach {', '.join(_SERVERS_WITHOUT_LOGIN)} at {', '.join(servers)}, "
        "which ask for no password.",
        "Set DATA_BIND=127.0.0.1 in docker/.env, and use an SSH tunnel.",
    )


def _open_pages(pages: Sequence[str]) -> Finding:
    return warning(
        _CHECK,
        f"{', '.join(_WITHOUT_LOGIN)} answer other machines without a login at {', '.join(pages)}.",
        f"{_TUNNEL}. Security groups and firewalls cannot be seen from here.",
    )
