"""The job that creates the buckets of the Compose lab, on a real MinIO."""

import subprocess
import sys
import time

import pytest

from gourmetgram import buckets
from gourmetgram.clients import s3
from gourmetgram.errors import TransientError
from gourmetgram.settings import PROJECT_ROOT, ObjectStoreSettings, process_environment
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName

pytestmark = pytest.mark.servers

CREATED = (
    0,
    "Both buckets exist: gourmetgram-datalake, gourmetgram-images\nEach service has its user and its rights.\n",
    "",
)


def run(stack: Stack, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the job."""
    done = subprocess.run(
        [sys.executable, "-m", "setup_jobs.buckets"],
        cwd=PROJECT_ROOT,
        env={**process_environment(), **stack.environment(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def names(stack: Stack) -> set[str]:
    client = s3.connect(ObjectStoreSettings.load(stack.environment()), s3.JOB)
    found = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    client.close()
    return found


@pytest.fixture(name="unused", scope="module")
def unused_bucket_names(unique_name: UniqueName) -> list[str]:
    """The names of the job's buckets are in use on the test stack, so its tests create others."""
    return [unique_name("setup-datalake"), unique_name("setup-images")]


def test_it_creates_what_is_absent_and_may_run_again(
    stack: Stack, unused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "ALL", tuple(unused))
    settings = ObjectStoreSettings.load(stack.environment())
    assert not names(stack) & set(unused)
    for _ in range(2):
        buckets.create(settings)
        assert set(unused) <= names(stack)


def test_it_says_that_both_buckets_exist(stack: Stack) -> None:
    assert run(stack) == CREATED
    assert {"gourmetgram-datalake", "gourmetgram-images"} <= names(stack)


@pytest.mark.parametrize(
    ("variable", "code"),
    [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")],
)
def test_a_wrong_login_ends_it_with_one_line_that_says_what_to_do(stack: Stack, variable: str, code: str) -> None:
    status, output, complaint = run(stack, **{variable: "wrong"})
    assert (status, output) == (1, "")
    assert complaint == (
        f"The bucket gourmetgram-datalake could not be created: the login is refused ({code}). "
        "Use the user and the password that the object store was started with.\n"
    )


def test_a_password_that_the_object_store_refuses_is_named(stack: Stack) -> None:
    status, output, complaint = run(stack, NIMTABLE_S3_PASSWORD="short")
    assert (status, output) == (1, "Both buckets exist: gourmetgram-datalake, gourmetgram-images\n")
    assert complaint.startswith("The user gourmetgram_nimtable of the object store could not be made: ")
    assert "secret key length" in complaint
    assert complaint.count("\n") == 1


def test_models_in_another_folder_are_readable_by_the_scorer(stack: Stack) -> None:
    folder = {"MODEL_BUCKET": "gourmetgram-datalake", "MODEL_PREFIX": "elsewhere/moderation/"}
    try:
        assert run(stack, **folder) == CREATED
        scorer = ObjectStoreSettings.load(stack.environment("risk_scoring_service"))
        client = s3.connect(scorer, s3.JOB)
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object(Bucket="gourmetgram-datalake", Key="elsewhere/moderation/metadata.json")
        client.close()
    finally:
        assert run(stack) == CREATED


def test_an_object_store_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # between two tries
    with pytest.raises(TransientError, match=r"does not answer; start it.*127\.0\.0\.1:1/"):
        buckets.create(ObjectStoreSettings(s3_endpoint_url="http://127.0.0.1:1"))
