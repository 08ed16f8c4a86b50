"""Logins of the services' users for places of a test's own: users of their own, with the same rights there."""

import hashlib
from collections.abc import Mapping
from functools import cache
from urllib.parse import urlsplit

from gourmetgram.object_users import ObjectPlaces, ObjectUser, ensure_user, policy_of
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.local.minio import PASSWORD as ROOT_PASSWORD
from gourmetgram_tools.local.minio import USER as ROOT

PASSWORD = "a-password-of-tests"
_CATALOG = "PYICEBERG_CATALOG__GOURMETGRAM__"


def as_object_user(environment: Mapping[str, str], user: ObjectUser) -> dict[str, str]:
    """An environment in which the root user's login is replaced by that of a service.

    Args:
        environment: variables with the object store's address, and the bucket and folders of a test.
        user: user whose rights it has there.
    """
    name = _made(environment["S3_ENDPOINT_URL"], user, _places(environment))
    return {
        **environment,
        "AWS_ACCESS_KEY_ID": name,
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        f"{_CATALOG}S3__ACCESS_KEY_ID": name,
        f"{_CATALOG}S3__SECRET_ACCESS_KEY": PASSWORD,
    }


def _places(environment: Mapping[str, str]) -> ObjectPlaces:
    places = ObjectPlaces()
    warehouse = urlsplit(environment.get(f"{_CATALOG}WAREHOUSE", f"s3://{places.lake}warehouse"))
    lake = f"{warehouse.netloc}{warehouse.path}".removesuffix("warehouse")
    models = places.models
    if "MODEL_BUCKET" in environment:
        models = f"{environment['MODEL_BUCKET']}/{environment['MODEL_PREFIX']}"
    return ObjectPlaces(f"{environment.get('S3_BUCKET_NAME', 'gourmetgram-images')}/", lake, models)


@cache
def _made(endpoint: str, user: ObjectUser, places: ObjectPlaces) -> str:
    """Make the user, once a process; its name follows from its places."""
    digest = hashlib.sha256(repr(places).encode()).hexdigest()[:8]
    name = f"{user.removeprefix('gourmetgram_')}-{digest}"
    root = ObjectStoreSettings(s3_endpoint_url=endpoint, aws_access_key_id=ROOT, aws_secret_access_key=ROOT_PASSWORD)
    ensure_user(root, name, PASSWORD, policy_of(user, places))
    return name
