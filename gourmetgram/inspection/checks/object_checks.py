"""Rows and pictures."""

from gourmetgram.inspection.checks.facts import Check, Facts, check
from gourmetgram.inspection.objects import object_key


def pictures(facts: Facts) -> Check:
    """Every image has its picture, and no picture is left without an image."""
    owners = {}
    for image_id, row in facts.rows.images.items():
        key = object_key(row.s3_url, facts.bucket)
        if key is not None:
            owners[key] = image_id
    stored = set(facts.objects)
    missing = sorted(owners.keys() - stored)
    orphans = sorted(stored - owners.keys())
    return check(
        "pictures",
        "each image has its object, and back",
        len(owners),
        len(stored),
        (
            *(f"image {owners[key]}: its object {key} is missing" for key in missing),
            *(f"object {key} belongs to no image" for key in orphans),
        ),
    )


OBJECT_CHECKS = (pictures,)
