"""Rows and pictures."""

from typing import Final

from gourmetgram.picture_keys import image_id_of
from gourmetgram_tools.inspection.checks.facts import Check, Facts, check
from gourmetgram_tools.inspection.objects import object_key

SWEPT_WITHIN_US: Final = 15 * 60 * 1_000_000
"""A running API has removed a picture without a row by then: it must be a minute old (ORPHAN_AFTER_SECONDS), a sweep
comes every ten minutes, and the rest is for sweeps that are tried again."""


def pictures(facts: Facts) -> Check:
    """Every image has its picture, and no picture is left without an image, unless an API will sweep it."""
    owners = {}
    for image_id, row in facts.rows.images.items():
        key = object_key(row.s3_url, facts.bucket)
        if key is not None:
            owners[key] = image_id
    stored = facts.objects.keys() - swept_soon(facts)
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


def swept_soon(facts: Facts) -> list[str]:
    """Pictures whose upload was interrupted a moment ago, so that they have no row: an API will remove them."""
    oldest_us = facts.now_us - SWEPT_WITHIN_US
    young = sorted(key for key, stored_us in facts.objects.items() if stored_us > oldest_us)
    ids = {key: image_id_of(key) for key in young}
    return [key for key, image_id in ids.items() if image_id and str(image_id) not in facts.rows.images]


OBJECT_CHECKS = (pictures,)
