"""Blazar: leases with one flavor reservation, each of which brings a flavor of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter

from tests.cloud.http import CloudError, CloudState, User, found
from tests.cloud.state import PROJECT, Cloud, Resource, new_id

router = APIRouter(prefix="/reservation/v1/leases")
_SHORT = "%Y-%m-%d %H:%M"
_LONG = "%Y-%m-%dT%H:%M:%S.%f"


def _flavor_of(cloud: Cloud, reservation: str) -> Resource:
    extras = {
        "aggregate_instance_extra_specs:reservation": reservation,
        f"resources:CUSTOM_RESERVATION_{reservation.replace('-', '_').upper()}": "1",
    }
    return cloud.add_flavor(f"reservation:{reservation}", extras)


@router.get("")
def leases(cloud: CloudState) -> Resource:
    return {"leases": list(cloud.leases.values())}


@router.post("", status_code=201)
def create(cloud: CloudState, user: User, body: dict[str, Any]) -> Resource:
    """Lease in PENDING; the first look at it finds it ACTIVE."""
    amount = sum(each["amount"] for each in body["reservations"])
    taken = sum(1 for each in cloud.leases.values() if each["status"] in ("PENDING", "ACTIVE"))
    if taken + amount > cloud.capacity:
        raise CloudError(400, "Not enough hosts available")
    now = datetime.now(UTC)
    end = datetime.strptime(body["end_date"], _SHORT).replace(tzinfo=UTC)
    assert timedelta(0) < end - now <= timedelta(days=7)
    reservations = [{**each, "id": new_id(), "status": "pending"} for each in body["reservations"]]
    lease: Resource = {
        "id": new_id(),
        "name": body["name"],
        "status": "PENDING",
        "user_id": user,
        "project_id": PROJECT["id"],
        "start_date": now.strftime(_LONG),
        "end_date": end.strftime(_LONG),
        "created_at": now.strftime("%Y-%m-%d %H:%M:%S"),
        "reservations": reservations,
        "events": [],
    }
    cloud.leases[lease["id"]] = lease
    for each in reservations:
        _flavor_of(cloud, each["id"])
    return {"lease": lease}


@router.get("/{lease_id}")
def lease(cloud: CloudState, lease_id: str) -> Resource:
    resource = found(cloud.leases, lease_id, "Lease")
    shown = {**resource}
    if resource["status"] == "PENDING":
        resource["status"] = shown["status"] = "ACTIVE"
    return {"lease": shown}


@router.delete("/{lease_id}")
def delete(cloud: CloudState, lease_id: str) -> Resource:
    """The end of a lease is the end of its servers."""
    end(cloud, found(cloud.leases, lease_id, "Lease"))
    return {"lease": cloud.leases.pop(lease_id)}


def end(cloud: Cloud, lease: Resource) -> None:
    """Terminate a lease, as happens at its end date: its flavor and its servers go, the entry stays."""
    lease["status"] = "TERMINATED"
    names = {f"reservation:{each['id']}" for each in lease["reservations"]}
    gone = {key for key, flavor in cloud.flavors.items() if flavor["name"] in names}
    for server in [each for each in cloud.servers.values() if each["flavor"]["id"] in gone]:
        cloud.remove_server(server["id"])
    for key in gone:
        del cloud.flavors[key]
