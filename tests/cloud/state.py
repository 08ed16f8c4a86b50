"""Everything that the stand-in of the cloud holds, and the switches by which a test makes it fail."""

import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

SITE: Final = "KVM@TACC"
PROJECT: Final = {"id": "c0ffee00c0ffee00c0ffee00c0ffee00", "name": "CHI-250000", "domain_id": "chameleon"}
FLAVOR: Final = "m1.xlarge"
IMAGE: Final = "CC-Ubuntu24.04"

Resource = dict[str, Any]
"""A resource as the cloud's API shows it."""


def new_id() -> str:
    return str(uuid.uuid4())


def named(resources: dict[str, Resource], name: str) -> list[Resource]:
    """Resources of a name; names are not unique in this cloud."""
    return [each for each in resources.values() if each["name"] == name]


@dataclass
class Cloud:
    """Resources by id. All students here belong to one project, as in a class."""

    address: str = ""
    leases: dict[str, Resource] = field(default_factory=dict)
    servers: dict[str, Resource] = field(default_factory=dict)
    ports: dict[str, Resource] = field(default_factory=dict)
    groups: dict[str, Resource] = field(default_factory=dict)
    rules: dict[str, Resource] = field(default_factory=dict)
    floating_ips: dict[str, Resource] = field(default_factory=dict)
    flavors: dict[str, Resource] = field(default_factory=dict)
    keypairs: dict[tuple[str, str], Resource] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    capacity: int = 4
    """Servers of the lab's flavor that may be reserved at once."""
    broken_hosts: bool = False
    """Next servers end in ERROR."""
    logins: bool = True
    """New tokens are given out."""

    def __post_init__(self) -> None:
        """Resources that were there before the first student."""
        self.networks: dict[str, Resource] = {name: {"id": new_id(), "name": name} for name in ("public", "sharednet1")}
        self.networks["public"]["router:external"] = True
        self.images = {IMAGE: {"id": new_id(), "name": IMAGE, "status": "active", "created_at": "2026-01-01T00:00:00Z"}}
        self.add_flavor(FLAVOR, {})
        self.numbers = itertools.count(11)

    def add_flavor(self, name: str, extras: dict[str, str]) -> Resource:
        flavor: Resource = {"id": new_id(), "name": name, "vcpus": 8, "ram": 16384, "disk": 40, "extra_specs": extras}
        flavor |= {"OS-FLV-EXT-DATA:ephemeral": 0, "swap": 0, "description": None, "os-flavor-access:is_public": True}
        self.flavors[flavor["id"]] = flavor
        return flavor

    def remove_server(self, server_id: str) -> None:
        """Delete a server; its floating IP stays in the project, as in the real cloud."""
        del self.servers[server_id]
        for port in [each for each in self.ports.values() if each["device_id"] == server_id]:
            del self.ports[port["id"]]
            for floating_ip in self.floating_ips.values():
                if floating_ip["port_id"] == port["id"]:
                    floating_ip |= {"port_id": None, "fixed_ip_address": None}

    def lose_session(self) -> None:
        """End every session: tokens expire and no new one is given out."""
        self.tokens.clear()
        self.logins = False

    def group_ports(self, server_name: str) -> dict[str, list[int]]:
        """Ports that each security group of a server opens."""
        (server,) = named(self.servers, server_name)
        (port,) = (each for each in self.ports.values() if each["device_id"] == server["id"])
        return {
            self.groups[group]["name"]: [
                rule["port_range_min"] for rule in self.rules.values() if rule["security_group_id"] == group
            ]
            for group in port["security_groups"]
        }
