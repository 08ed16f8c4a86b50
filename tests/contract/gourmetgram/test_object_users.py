"""Users of the services on a real MinIO: each has its rights, and no other one.

That a service needs no more is seen by the services' own tests, whose fixtures log in with these users.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException

from gourmetgram.clients import s3
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.object_users import USERS, ObjectPlaces, ObjectUser, ObjectUserSettings, ensure_user, policy_of
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.object_logins import as_object_user

pytestmark = pytest.mark.servers

REFUSED = {"AccessDenied", "403", "AllAccessDisabled"}

# Letters: L list, R read, W write, D delete. A missing key: nothing. Keys begin with the name of a bucket.
CAN: Mapping[ObjectUser, Mapping[str, str]] = {
    "gourmetgram_api": {
        "pictures/a.jpg": "LWD",
        "pictures/.owner": "LRWD",
        "pictures/synthetic/a.jpg": "LWD",
    },
    "gourmetgram_scorer": {"lake/models/moderation/metadata.json": "R"},
    "gourmetgram_generator": {"pictures/synthetic/a.jpg": "LW"},
    "gourmetgram_batch": {
        "lake/warehouse/a/data/1.parquet": "LRWD",
        "lake/raw/users/latest.parquet": "LRWD",
        "lake/processed/training_data.parquet": "LRWD",
        "lake/models/moderation/metadata.json": "LRW",
    },
    "gourmetgram_jupyter": {
        "lake/warehouse/a/data/1.parquet": "LRWD",
        "lake/models/moderation/metadata.json": "LRW",
    },
    "gourmetgram_mlflow": {"lake/mlflow/1/model.pkl": "LRWD"},
    "gourmetgram_nimtable": {"lake/warehouse/a/data/1.parquet": "LR"},
}
KEYS = (
    *dict.fromkeys(key for keys in CAN.values() for key in keys),
    *("lake/other.txt", "lake/models-of-another", "lake/warehouses/a", "foreign/a.jpg", "foreign/models/a"),
)


class Places:
    """Three buckets of this module, and clients of them."""

    def __init__(self, variables: dict[str, str], name: str) -> None:
        self.buckets = {short: f"{name}-{short}" for short in ("pictures", "lake", "foreign")}
        self.variables = {
            **variables,
            "S3_BUCKET_NAME": self.buckets["pictures"],
            "MODEL_BUCKET": self.buckets["lake"],
            "MODEL_PREFIX": "models/",
            "PYICEBERG_CATALOG__GOURMETGRAM__WAREHOUSE": f"s3://{self.buckets['lake']}/warehouse",
        }
        self.root: Any = s3.connect(self.settings(), s3.JOB)

    def settings(self, user: ObjectUser | None = None) -> ObjectStoreSettings:
        """Settings with the login of a user; None = the root user."""
        return ObjectStoreSettings.load(as_object_user(self.variables, user) if user else self.variables)

    @contextmanager
    def client(self, user: ObjectUser) -> Iterator[Any]:
        """A client with the login of a user."""
        client = s3.connect(self.settings(user), s3.JOB)
        yield client
        client.close()

    def address(self, key: str) -> dict[str, str]:
        """Bucket and key of a key that begins with a bucket's short name."""
        short, _, rest = key.partition("/")
        return {"Bucket": self.buckets[short], "Key": rest}


@pytest.fixture(scope="module", name="places")
def places_fixture(stack: Stack, unique_name: UniqueName) -> Iterator[Places]:
    """The buckets, with one object at each key."""
    places = Places(stack.environment(), unique_name("rights"))
    for bucket in places.buckets.values():
        places.root.create_bucket(Bucket=bucket)
    for key in KEYS:
        places.root.put_object(**places.address(key), Body=b"there")
    yield places
    places.root.close()


def allowed(call: Callable[[], object]) -> bool:
    """False for a call that is refused for lack of a right."""
    try:
        call()
    except ClientError as error:
        assert error.response["Error"]["Code"] in REFUSED
        return False
    return True


def found(places: Places, client: Any, key: str) -> str:
    """Letters of what a client can do with a key; the object stays as it was."""
    address = places.address(key)
    bucket, name = address["Bucket"], address["Key"]
    calls: dict[str, Callable[[], object]] = {
        "L": lambda: client.list_objects_v2(Bucket=bucket, Prefix=name),
        "R": lambda: client.get_object(**address)["Body"].read(),
        "W": lambda: client.put_object(**address, Body=b"there"),
        "D": lambda: client.delete_object(**address),
    }
    letters = "".join(letter for letter, call in calls.items() if allowed(call))
    places.root.put_object(**address, Body=b"there")
    return letters


@pytest.mark.parametrize("user", USERS)
def test_a_user_can_do_what_its_row_says_and_nothing_else(places: Places, user: ObjectUser) -> None:
    with places.client(user) as client:
        assert {key: letters for key in KEYS if (letters := found(places, client, key))} == CAN[user]


@pytest.mark.parametrize("user", USERS)
def test_no_user_lists_or_changes_whole_buckets_beyond_its_own(
    places: Places, unique_name: UniqueName, user: ObjectUser
) -> None:
    pictures, lake = places.buckets["pictures"], places.buckets["lake"]
    with places.client(user) as client:
        assert allowed(lambda: client.list_objects_v2(Bucket=pictures)) == (user == "gourmetgram_api")
        assert not allowed(lambda: client.list_objects_v2(Bucket=lake))
        assert not allowed(lambda: client.create_bucket(Bucket=unique_name("new")))
        assert not allowed(lambda: client.list_object_versions(Bucket=lake))
        for bucket in places.buckets.values():
            assert not any(map(allowed, changes(client, bucket)))


def changes(client: Any, bucket: str) -> list[Callable[[], object]]:
    """Changes of a bucket as a whole."""
    suspended = {"Status": "Suspended"}
    return [
        lambda: client.delete_bucket(Bucket=bucket),
        lambda: client.put_bucket_policy(Bucket=bucket, Policy="{}"),
        lambda: client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=suspended),
    ]


def test_a_copy_or_a_deletion_of_many_is_no_way_around(places: Places) -> None:
    secret, mine = places.address("lake/raw/users/latest.parquet"), places.address("pictures/b.jpg")
    with places.client("gourmetgram_api") as api:
        assert not allowed(lambda: api.copy_object(**mine, CopySource=secret))
        answer = api.delete_objects(Bucket=secret["Bucket"], Delete={"Objects": [{"Key": secret["Key"]}]})
        assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]
    with places.client("gourmetgram_jupyter") as jupyter:
        assert not allowed(lambda: jupyter.copy_object(**places.address("lake/warehouse/b"), CopySource=secret))
    assert places.root.get_object(**secret)["Body"].read() == b"there"


def test_an_absent_model_is_missing_and_not_refused(places: Places) -> None:
    """The scorer waits for a first model, but reports a refusal as an outage."""
    with places.client("gourmetgram_scorer") as client, pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(**places.address("lake/models/none/metadata.json"))


@pytest.mark.parametrize("user", USERS)
def test_no_user_changes_its_password_or_makes_another_login(places: Places, user: ObjectUser) -> None:
    """MinIO allows both to each user whose policy does not deny it."""
    settings = places.settings(user)
    admin = administration(settings)
    tries: list[Callable[[], object]] = [
        lambda: admin.user_add(settings.aws_access_key_id, "another-password"),
        lambda: admin.add_service_account(access_key="another-login", secret_key="another-password"),
        lambda: admin.policy_set("consoleAdmin", user=settings.aws_access_key_id),
        lambda: admin.policy_add(settings.aws_access_key_id, policy=policy_of("gourmetgram_batch", ObjectPlaces())),
        admin.user_list,
        admin.info,
    ]
    for each in tries:
        with pytest.raises(MinioAdminException, match="AccessDenied"):
            each()


def administration(settings: ObjectStoreSettings) -> MinioAdmin:
    login = StaticProvider(settings.aws_access_key_id, settings.aws_secret_access_key)
    return MinioAdmin(endpoint=settings.s3_endpoint_url.removeprefix("http://"), credentials=login, secure=False)


def logs_in(places: Places, name: str, password: str) -> bool:
    """True when a user without rights is refused for them, and not for its login."""
    login = {"aws_access_key_id": name, "aws_secret_access_key": password}
    client: Any = s3.connect(places.settings().model_copy(update=login), s3.JOB)
    with pytest.raises(ClientError) as caught:
        client.list_buckets()
    client.close()
    return bool(caught.value.response["Error"]["Code"] == "AccessDenied")


def test_a_second_run_changes_nothing_and_a_changed_password_counts(places: Places, unique_name: UniqueName) -> None:
    name, root = unique_name("user"), administration(places.settings())
    policy = policy_of("gourmetgram_scorer", ObjectPlaces())
    for password in ("first-password", "first-password", 'it\'s a "second" one'):
        ensure_user(places.settings(), name, password, policy)
        assert logs_in(places, name, password)
        assert f'"policyName":"{name}","status":"enabled"' in root.user_info(name)
    assert not logs_in(places, name, "first-password")


def test_rights_and_states_that_were_given_by_hand_are_taken_back(places: Places, unique_name: UniqueName) -> None:
    name, root = unique_name("user"), administration(places.settings())
    policy = policy_of("gourmetgram_scorer", ObjectPlaces())
    ensure_user(places.settings(), name, "first-password", policy)
    root.attach_policy(["readwrite"], user=name)
    root.policy_add(name, policy=policy_of("gourmetgram_mlflow", ObjectPlaces()))
    root.user_disable(name)
    ensure_user(places.settings(), name, "first-password", policy)
    assert logs_in(places, name, "first-password")
    assert f'"policyName":"{name}","status":"enabled"' in root.user_info(name)
    assert "/models/*" in root.policy_info(name)


def test_failures_are_named(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of("gourmetgram_scorer", ObjectPlaces())
    with pytest.raises(PermanentError, match=r"user nobody-special .* could not be made.*secret key length"):
        ensure_user(places.settings(), "nobody-special", "short", policy)
    with pytest.raises(PermanentError, match=r"could not be made.*AccessDenied"):
        ensure_user(places.settings("gourmetgram_api"), "nobody-special", "long-enough", policy)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between two tries
    away = ObjectStoreSettings(s3_endpoint_url="http://127.0.0.1:1")
    with pytest.raises(TransientError, match="does not answer; start it"):
        ensure_user(away, "nobody-special", "long-enough", policy)


def test_each_user_has_a_password_of_its_own() -> None:
    passwords = ObjectUserSettings()
    assert len({passwords.secret_key_of(user) for user in USERS}) == len(USERS) == len(ObjectUserSettings.model_fields)
