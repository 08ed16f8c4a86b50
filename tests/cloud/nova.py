"""Nova: flavors, key pairs, and servers with one port each."""

import base64
import hashlib
from typing import Any

from fastapi import APIRouter, Response

from tests.cloud.http import CloudError, CloudState, User, found
from tests.cloud.state import PROJECT, Cloud, Resource, named, new_id

router = APIRouter(prefix="/compute")


@router.get("")
@router.get("/")
def versions(cloud: CloudState) -> Resource:
    return {"versions": [version(cloud)["version"]]}


@router.get("/v2.1")
@router.get("/v2.1/")
def version(cloud: CloudState) -> Resource:
    links = [{"rel": "self", "href": f"{cloud.address}/compute/v2.1/"}]
    return {"version": {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": links}}


@router.get("/v2.1/flavors/detail")
def flavors(cloud: CloudState) -> Resource:
    return {"flavors": list(cloud.flavors.values())}


@router.get("/v2.1/flavors/{flavor_id}")
def flavor(cloud: CloudState, flavor_id: str) -> Resource:
    return {"flavor": found(cloud.flavors, flavor_id, "Flavor")}


@router.get("/v2.1/flavors/{flavor_id}/os-extra_specs")
def extra_specs(cloud: CloudState, flavor_id: str) -> Resource:
    return {"extra_specs": found(cloud.flavors, flavor_id, "Flavor")["extra_specs"]}


@router.get("/v2.1/os-keypairs/{name}")
def keypair(cloud: CloudState, user: User, name: str) -> Resource:
    if (user, name) not in cloud.keypairs:
        raise CloudError(404, f"Keypair {name} not found for user {user}")
    return {"keypair": cloud.keypairs[user, name]}


@router.post("/v2.1/os-keypairs", status_code=201)
def create_keypair(cloud: CloudState, user: User, body: dict[str, Any]) -> Resource:
    wanted = body["keypair"]
    digest = hashlib.md5(base64.b64decode(wanted["public_key"].split()[1]), usedforsecurity=False).hexdigest()
    pair = {**wanted, "fingerprint": ":".join(a + b for a, b in zip(digest[::2], digest[1::2], strict=True))}
    cloud.keypairs[user, wanted["name"]] = pair
    return {"keypair": pair}


def shown(cloud: Cloud, server: Resource) -> Resource:
    """A server with its addresses, as the API shows it."""
    addresses = []
    for port in [each for each in cloud.ports.values() if each["device_id"] == server["id"]]:
        known = [("fixed", port["fixed_ips"][0]["ip_address"])]
        for floating_ip in cloud.floating_ips.values():
            if floating_ip["port_id"] == port["id"]:
                known.append(("floating", floating_ip["floating_ip_address"]))
        addresses += [
            {"addr": addr, "version": 4, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": port["mac_address"]}
            for kind, addr in known
        ]
    return {**server, "addresses": {"sharednet1": addresses} if addresses else {}}


@router.get("/v2.1/servers")
@router.get("/v2.1/servers/detail")
def servers(cloud: CloudState) -> Resource:
    return {"servers": [shown(cloud, each) for each in cloud.servers.values()]}


@router.post("/v2.1/servers", status_code=202)
def create(cloud: CloudState, user: User, body: dict[str, Any]) -> Resource:
    """Server in BUILD; the first look at it finds it ACTIVE, or in ERROR when the hosts are broken."""
    wanted = body["server"]
    reserved = found(cloud.flavors, wanted["flavorRef"], "Flavor")
    if not reserved["name"].startswith("reservation:"):
        raise CloudError(403, "This flavor needs a reservation.")
    if (user, wanted["key_name"]) not in cloud.keypairs:
        raise CloudError(400, "Invalid key_name provided.")
    server: Resource = {
        "id": new_id(),
        "name": wanted["name"],
        "status": "BUILD",
        "key_name": wanted["key_name"],
        "image": {"id": wanted["imageRef"]},
        "hostId": "f" * 56,
        "created": "2026-01-01T00:00:00Z",
        "locked": False,
        "tenant_id": PROJECT["id"],
        "user_id": user,
        "OS-EXT-SRV-ATTR:host": None,
        "host_status": "UP",
        "flavor": {"id": reserved["id"], "original_name": reserved["name"], "vcpus": 8, "ram": 16384, "disk": 40},
    }
    cloud.servers[server["id"]] = server
    return {"server": {"id": server["id"], "links": [], "adminPass": "x"}}


@router.get("/v2.1/servers/{server_id}")
def server(cloud: CloudState, server_id: str) -> Resource:
    resource = found(cloud.servers, server_id, "Instance")
    if resource["status"] == "BUILD":
        resource["status"] = "ERROR" if cloud.broken_hosts else "ACTIVE"
        if resource["status"] == "ACTIVE":
            _plug(cloud, server_id)
    return {"server": shown(cloud, resource)}


def _plug(cloud: Cloud, server_id: str) -> None:
    address = f"10.56.0.{next(cloud.numbers)}"
    port: Resource = {
        "id": new_id(),
        "name": "",
        "device_id": server_id,
        "security_groups": [],
        "mac_address": "fa:16:3e:0:0:1",
        "network_id": cloud.networks["sharednet1"]["id"],
        "fixed_ips": [{"ip_address": address}],
    }
    cloud.ports[port["id"]] = port


@router.delete("/v2.1/servers/{server_id}", status_code=204)
def delete(cloud: CloudState, server_id: str) -> Response:
    found(cloud.servers, server_id, "Instance")
    cloud.remove_server(server_id)
    return Response(status_code=204)


@router.post("/v2.1/servers/{server_id}/action", status_code=202)
def act(cloud: CloudState, server_id: str, body: dict[str, Any]) -> Response:
    """Only `addSecurityGroup`; a group that the server has already is refused, as the real cloud does."""
    found(cloud.servers, server_id, "Instance")
    name = body["addSecurityGroup"]["name"]
    groups = named(cloud.groups, name)
    if len(groups) != 1:
        raise CloudError(404 if not groups else 409, f"Security group {name}: {len(groups)} found in this project.")
    for port in [each for each in cloud.ports.values() if each["device_id"] == server_id]:
        if groups[0]["id"] in port["security_groups"]:
            problem = f"Duplicate items in the list: '{groups[0]['id']}'."
            raise CloudError(400, f"Invalid input for security_groups. Reason: {problem}")
        port["security_groups"].append(groups[0]["id"])
    return Response(status_code=202)


@router.get("/v2.1/servers/{server_id}/os-security-groups")
def groups_of(cloud: CloudState, server_id: str) -> Resource:
    ports = [each for each in cloud.ports.values() if each["device_id"] == server_id]
    return {"security_groups": [cloud.groups[group] for port in ports for group in port["security_groups"]]}
