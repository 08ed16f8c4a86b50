"""Neutron: networks, ports, floating IPs, and security groups with their rules."""

from typing import Any

from fastapi import APIRouter, Response

from tests.cloud.http import CloudError, CloudState, found
from tests.cloud.state import PROJECT, Cloud, Resource, new_id

router = APIRouter(prefix="/network")


@router.get("")
@router.get("/")
def versions(cloud: CloudState) -> Resource:
    links = [{"rel": "self", "href": f"{cloud.address}/network/v2.0/"}]
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}


@router.get("/v2.0/networks")
def networks(cloud: CloudState) -> Resource:
    return {"networks": list(cloud.networks.values())}


@router.get("/v2.0/networks/{network_id}")
def network(cloud: CloudState, network_id: str) -> Resource:
    return {"network": found({each["id"]: each for each in cloud.networks.values()}, network_id, "Network")}


@router.get("/v2.0/ports")
def ports(cloud: CloudState, device_id: str) -> Resource:
    return {"ports": [each for each in cloud.ports.values() if each["device_id"] == device_id]}


@router.get("/v2.0/floatingips")
def floating_ips(cloud: CloudState) -> Resource:
    return {"floatingips": list(cloud.floating_ips.values())}


@router.post("/v2.0/floatingips", status_code=201)
def allocate(cloud: CloudState, body: dict[str, Any]) -> Resource:
    assert body["floatingip"]["floating_network_id"] == cloud.networks["public"]["id"]
    return {"floatingip": allocated(cloud)}


def allocated(cloud: Cloud) -> Resource:
    """A new floating IP of the project, attached to nothing."""
    floating_ip: Resource = {
        "id": new_id(),
        "floating_ip_address": f"203.0.113.{next(cloud.numbers)}",
        "description": "",
        "port_id": None,
        "fixed_ip_address": None,
        "project_id": PROJECT["id"],
        "tags": [],
    }
    cloud.floating_ips[floating_ip["id"]] = floating_ip
    return floating_ip


@router.put("/v2.0/floatingips/{floating_ip_id}")
def update(cloud: CloudState, floating_ip_id: str, body: dict[str, Any]) -> Resource:
    """A port has one floating IP: a second one is refused."""
    floating_ip = found(cloud.floating_ips, floating_ip_id, "Floating IP")
    changes = body["floatingip"]
    if changes.get("port_id"):
        found(cloud.ports, changes["port_id"], "Port")
        if any(each["port_id"] == changes["port_id"] for each in cloud.floating_ips.values()):
            raise CloudError(409, "Cannot associate: that fixed IP already has a floating IP on external network.")
    floating_ip |= changes
    return {"floatingip": floating_ip}


@router.delete("/v2.0/floatingips/{floating_ip_id}", status_code=204)
def release(cloud: CloudState, floating_ip_id: str) -> Response:
    found(cloud.floating_ips, floating_ip_id, "Floating IP")
    del cloud.floating_ips[floating_ip_id]
    return Response(status_code=204)


@router.get("/v2.0/security-groups")
def groups(cloud: CloudState) -> Resource:
    return {
        "security_groups": [
            {
                **group,
                "security_group_rules": [
                    rule for rule in cloud.rules.values() if rule["security_group_id"] == group["id"]
                ],
            }
            for group in cloud.groups.values()
        ]
    }


@router.post("/v2.0/security-groups", status_code=201)
def create_group(cloud: CloudState, body: dict[str, Any]) -> Resource:
    group = {**body["security_group"], "id": new_id(), "security_group_rules": [], "tenant_id": PROJECT["id"]}
    cloud.groups[group["id"]] = group
    return {"security_group": group}


@router.post("/v2.0/security-group-rules", status_code=201)
def create_rule(cloud: CloudState, body: dict[str, Any]) -> Resource:
    rule = {**body["security_group_rule"], "id": new_id()}
    found(cloud.groups, rule["security_group_id"], "Security group")
    cloud.rules[rule["id"]] = rule
    return {"security_group_rule": rule}
