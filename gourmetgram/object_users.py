"""Users of the object store, one for each service: what each may do, and the requests that make it so.

The root user stays for people, backups and commands. No user here may do more than the table below says, not even
change its own password (docs/decisions/object-store-users.md).
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import ObjectStoreSettings, Settings

if TYPE_CHECKING:
    from minio import MinioAdmin

ObjectUser = Literal[
    "gourmetgram_api",
    "gourmetgram_scorer",
    "gourmetgram_generator",
    "gourmetgram_batch",
    "gourmetgram_jupyter",
    "gourmetgram_mlflow",
    "gourmetgram_nimtable",
]
USERS: Final[tuple[ObjectUser, ...]] = get_args(ObjectUser)

Right = Literal["list", "read", "write", "delete"]

ACTIONS: Final[Mapping[Right, tuple[str, ...]]] = {
    "list": ("s3:ListBucket",),
    "read": ("s3:GetObject",),
    # A large file is sent in parts; a sender that gives up removes them.
    "write": ("s3:PutObject", "s3:AbortMultipartUpload"),
    "delete": ("s3:DeleteObject",),
}

_CHANGE: Final[tuple[Right, ...]] = ("list", "read", "write", "delete")
_ADD: Final[tuple[Right, ...]] = ("list", "read", "write")

RIGHTS: Final[Mapping[str, Mapping[ObjectUser, tuple[Right, ...]]]] = {
    # The API hands out addresses of pictures, and reads none. Its sweep deletes orphans.
    "{pictures}": {"gourmetgram_api": ("list", "write", "delete")},
    "{pictures}.owner": {"gourmetgram_api": ("read",)},
    "{pictures}synthetic/": {"gourmetgram_generator": ("list", "write")},
    "{lake}warehouse/": {
        "gourmetgram_batch": _CHANGE,
        "gourmetgram_jupyter": _CHANGE,
        "gourmetgram_nimtable": ("list", "read"),
    },
    "{lake}raw/": {"gourmetgram_batch": _CHANGE},
    "{lake}processed/": {"gourmetgram_batch": _CHANGE},
    "{lake}mlflow/": {"gourmetgram_mlflow": _CHANGE},
    # A published version is never deleted.
    "{models}": {
        "gourmetgram_scorer": ("read",),
        "gourmetgram_batch": _ADD,
        "gourmetgram_jupyter": _ADD,
    },
}
"""Rights by beginning of a key and user. In braces: fields of `ObjectPlaces`."""


class ObjectPlaces(NamedTuple):
    """Folders of the object store, each as `bucket/` or `bucket/folder/`.

    Attributes:
        pictures: bucket of the pictures.
        lake: folder that holds the warehouse.
        models: folder of all models.
    """

    pictures: str = "gourmetgram-images/"
    lake: str = "gourmetgram-datalake/"
    models: str = "gourmetgram-datalake/models/"


class ObjectUserSettings(Settings):
    """Passwords of the users. The defaults are the lab's published teaching passwords."""

    api_s3_password: str = "gourmetgram_api_s3"  # noqa: S105 - teaching password
    scorer_s3_password: str = "gourmetgram_scorer_s3"  # noqa: S105 - teaching password
    generator_s3_password: str = "gourmetgram_generator_s3"  # noqa: S105 - teaching password
    batch_s3_password: str = "gourmetgram_batch_s3"  # noqa: S105 - teaching password
    jupyter_s3_password: str = "gourmetgram_jupyter_s3"  # noqa: S105 - teaching password
    mlflow_s3_password: str = "gourmetgram_mlflow_s3"  # noqa: S105 - teaching password
    nimtable_s3_password: str = "gourmetgram_nimtable_s3"  # noqa: S105 - teaching password

    def secret_key_of(self, user: ObjectUser) -> str:
        """The password of a user, which S3 calls its secret key."""
        password: str = getattr(self, f"{user.removeprefix('gourmetgram_')}_s3_password")
        return password


def ensure_users(settings: ObjectStoreSettings, passwords: ObjectUserSettings, places: ObjectPlaces) -> None:
    """Make the users, their passwords and exactly their rights; it may run again at any time.

    Args:
        settings: address of the object store, and the login of its root user.
        passwords: passwords of the users.
        places: folders that the rights are about.

    Raises:
        TransientError: the object store is away.
        PermanentError: the object store refuses, for example a password that is too short.
    """
    for user in USERS:
        ensure_user(settings, user, passwords.secret_key_of(user), policy_of(user, places))


def ensure_user(settings: ObjectStoreSettings, name: str, password: str, policy: Mapping[str, object]) -> None:
    """Make one user with one policy of the same name, which replaces all that it had; see `ensure_users`."""
    # Imported here: every command of the local stack imports this module.
    from minio.error import MinioAdminException
    from urllib3.exceptions import HTTPError

    try:
        admin = _admin(settings)
        admin.policy_add(name, policy=dict(policy))
        # A changed password costs both sides a third of a second, so the present one is tried first.
        if not _logs_in(settings, name, password):
            admin.user_add(name, password)
        # Unlike an attachment, it also takes away policies that were given by hand.
        admin.policy_set(name, user=name)
    except MinioAdminException as error:
        raise PermanentError(f"The user {name} of the object store could not be made: {str(error).strip()}") from error
    except HTTPError as error:
        raise TransientError(f"The object store does not answer; start it, then try again. {error}") from error


def policy_of(user: ObjectUser, places: ObjectPlaces) -> dict[str, object]:
    """The policy of a user in the language of S3."""
    return {"Version": "2012-10-17", "Statement": [*_allowed(user, places), _NO_ADMINISTRATION]}


_NO_ADMINISTRATION: Final = {"Effect": "Deny", "Action": ["admin:*"]}
"""Without it, MinIO lets each user change its own password and make more logins with the same rights."""


def _allowed(user: ObjectUser, places: ObjectPlaces) -> Iterator[dict[str, object]]:
    for pattern, by_user in RIGHTS.items():
        place = pattern.format_map(places._asdict())
        bucket, _, prefix = place.partition("/")
        # A folder means all that is in it; other places are one object.
        keys = f"{prefix}*" if place.endswith("/") else prefix
        rights = by_user.get(user, ())
        if actions := [action for right in rights if right != "list" for action in ACTIONS[right]]:
            yield {"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{bucket}/{keys}"]}
        if "list" in rights:
            # A condition on the prefix `*` would also refuse a listing without one.
            condition = {"Condition": {"StringLike": {"s3:prefix": [keys]}}} if prefix else {}
            yield {
                "Effect": "Allow",
                "Action": [*ACTIONS["list"]],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                **condition,
            }


def _admin(settings: ObjectStoreSettings) -> "MinioAdmin":
    from minio import MinioAdmin
    from minio.credentials.providers import StaticProvider
    from urllib3 import PoolManager, Retry, Timeout

    address = urlsplit(settings.s3_endpoint_url)
    return MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(settings.aws_access_key_id, settings.aws_secret_access_key),
        region=settings.aws_region,
        secure=address.scheme == "https",
        http_client=PoolManager(
            timeout=Timeout(connect=5, read=20),
            # A server that has just started may not have read its users yet.
            retries=Retry(total=5, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        ),
    )


def _logs_in(settings: ObjectStoreSettings, name: str, password: str) -> bool:
    """True when the user exists, is enabled and has the password."""
    from minio.error import MinioAdminException

    login = {"aws_access_key_id": name, "aws_secret_access_key": password}
    try:
        # Each user may ask for its own account, whatever its policy denies.
        _admin(settings.model_copy(update=login)).account_info()
    except MinioAdminException:
        return False
    return True
