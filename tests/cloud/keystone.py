"""Keystone: tokens with a catalog of the services, and the projects of a user."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from tests.cloud.http import CloudError, CloudState
from tests.cloud.state import PROJECT, SITE, Cloud, Resource, new_id

router = APIRouter()
UNAUTHORIZED = CloudError(401, "The request you have made requires authentication.")
SERVICES = {
    "identity": "/site:5000/v3",
    "compute": "/compute/v2.1",
    "network": "/network",
    "image": "/image",
    "reservation": "/reservation/v1",
}


def _catalog(address: str) -> list[Resource]:
    return [
        {
            "id": new_id(),
            "name": kind,
            "type": kind,
            "endpoints": [
                {"id": new_id(), "interface": interface, "region": SITE, "region_id": SITE, "url": f"{address}{path}"}
                for interface in ("public", "internal", "admin")
            ],
        }
        for kind, path in SERVICES.items()
    ]


def _token(cloud: Cloud, user: str) -> Resource:
    return {
        "methods": ["password"],
        "user": {"id": user, "name": user, "domain": {"id": "default", "name": "default"}},
        "project": {**PROJECT, "domain": {"id": "chameleon", "name": "chameleon"}},
        "roles": [{"id": "member", "name": "member"}],
        "catalog": _catalog(cloud.address),
        "issued_at": "2026-01-01T00:00:00.000000Z",
        "expires_at": "2099-01-01T00:00:00.000000Z",
    }


@router.post("/site:5000/v3/auth/tokens")
def log_in(cloud: CloudState, body: dict[str, Any]) -> JSONResponse:
    if not cloud.logins:
        raise UNAUTHORIZED
    user = body["auth"]["identity"]["password"]["user"]["name"]
    token = new_id()
    cloud.tokens[token] = user
    return JSONResponse({"token": _token(cloud, user)}, 201, headers={"X-Subject-Token": token})


@router.get("/site:5000/v3")
@router.get("/site:5000/v3/")
def version(cloud: CloudState) -> Resource:
    links = [{"rel": "self", "href": f"{cloud.address}/site:5000/v3/"}]
    return {"version": {"id": "v3.14", "status": "stable", "links": links}}


@router.get("/site:5000/v3/users/{user}/projects")
def projects(user: str) -> Resource:
    return {"projects": [PROJECT], "links": {}}


@router.get("/site:5000/v3/projects/{project}")
def project(project: str) -> Resource:
    return {"project": PROJECT}
