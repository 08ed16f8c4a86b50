"""Glance: one image, and the schemas that its client asks for first."""

from fastapi import APIRouter

from tests.cloud.http import CloudState, found
from tests.cloud.state import Resource

router = APIRouter(prefix="/image")


@router.get("")
@router.get("/")
def versions(cloud: CloudState) -> Resource:
    links = [{"rel": "self", "href": f"{cloud.address}/image/v2/"}]
    return {"versions": [{"id": "v2.9", "status": "CURRENT", "links": links}]}


@router.get("/v2/schemas/{name}")
def schema(name: str) -> Resource:
    return {"name": name, "properties": {}, "additionalProperties": {"type": "string"}}


@router.get("/v2/images")
def images(cloud: CloudState, name: str = "") -> Resource:
    return {"images": [each for each in cloud.images.values() if name in ("", each["name"])]}


@router.get("/v2/images/{image_id}")
def image(cloud: CloudState, image_id: str) -> Resource:
    return found({each["id"]: each for each in cloud.images.values()}, image_id, "Image")
