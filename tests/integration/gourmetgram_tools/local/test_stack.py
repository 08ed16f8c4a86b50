"""The local stack's behaviour on a stack of its own, with real servers."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg2
import pytest
import redis
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from gourmetgram.database.revision import REVISION
from gourmetgram.kafka.clients import client_config
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import CONFIG, ensure_topics
from gourmetgram_tools.local.blueprint import SERVERS
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.stack import Stack
from tests.support.own_stack import own_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack whose first start was interrupted half-way through creating data folders."""
    with own_stack("own", tmp_path_factory.mktemp("home")) as stack:
        for unfinished in (stack.postgres.data.with_name("data.new"), stack.folder / "kafka" / "data.new"):
            (unfinished / "base").mkdir(parents=True)
            (unfinished / "half-written").write_text("x")
        stack.up(services=())
        yield stack


@contextmanager
def cursor(stack: Stack) -> Iterator[Any]:
    with closing(psycopg2.connect(stack.environment()["DATABASE_URL"])) as connection:
        connection.autocommit = True
        with connection.cursor() as result:
            yield result


def redis_of(stack: Stack) -> redis.Redis:
    return redis.Redis(port=stack.ports.redis, decode_responses=True)


def admin_of(stack: Stack) -> AdminClient:
    return AdminClient(client_config(kafka_settings(stack), "tests"))


def kafka_settings(stack: Stack) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers=stack.environment()["KAFKA_BOOTSTRAP_SERVERS"])


def s3_of(stack: Stack) -> Any:
    variables = stack.environment()
    return boto3.client(
        "s3",
        endpoint_url=variables["S3_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_REGION"],
    )


def pids(stack: Stack) -> dict[str, int | None]:
    return {part.name: part.pid for part in stack.status() if part.name in SERVERS}


def healthy(stack: Stack, name: str) -> bool:
    return next(part.healthy for part in stack.status() if part.name == name)


def state(stack: Stack, name: str) -> str:
    return next(part.state for part in stack.status() if part.name == name)


def test_a_second_up_leaves_everything_running_as_it_is(own: Stack) -> None:
    before = pids(own)
    own.up(services=())
    assert pids(own) == before
    assert all(before.values())


def test_it_runs_beside_another_stack_on_other_ports(own: Stack, stack: Stack) -> None:
    assert not set(vars(own.ports).values()) & set(vars(stack.ports).values())
    assert all(healthy(each, name) for each in (own, stack) for name in SERVERS)


def test_the_schema_is_there_and_time_is_utc(own: Stack) -> None:
    with cursor(own) as sql:
        sql.execute("SELECT count(*) FROM moderation")
        assert sql.fetchone() == (0,)
        sql.execute("SHOW timezone")
        assert sql.fetchone() == ("UTC",)
        sql.execute("SHOW fsync")
        assert sql.fetchone() == ("on",)
        sql.execute("SELECT datname FROM pg_database WHERE NOT datistemplate")
        names = {name for (name,) in sql}
    assert names >= {"gourmetgram", "airflow", "iceberg_catalog", "mlflow", "nimtable"}


def test_up_migrates_an_older_database_and_says_so_once(own: Stack, caplog: pytest.LogCaptureFixture) -> None:
    with cursor(own) as sql:
        sql.execute("DROP TABLE abandoned_uploads, alembic_version")
    for lines in ([f"The database schema was brought from no revision to revision {REVISION}."], []):
        caplog.clear()
        own.up(services=())
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == lines
    with cursor(own) as sql:
        sql.execute("SELECT count(*) FROM abandoned_uploads")
        assert sql.fetchone() == (0,)


def test_a_wrong_password_is_refused(own: Stack) -> None:
    url = own.environment()["DATABASE_URL"].replace("gourmetgram_postgres", "wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url)


def topic_facts(stack: Stack) -> dict[str, tuple[int, dict[str, str]]]:
    """Partitions and settings of the platform's topics, by name."""
    admin, names = admin_of(stack), kafka_settings(stack).all_topics
    topics = admin.list_topics(timeout=10).topics
    answers = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    return {
        resource.name: (
            len(topics[resource.name].partitions),
            {key: answer.result()[key].value for key in CONFIG},
        )
        for resource, answer in answers.items()
    }


EXPECTED_TOPIC = (
    4,
    {"retention.ms": "2592000000", "segment.ms": "3600000", "message.timestamp.type": "LogAppendTime"},
)


def test_the_six_topics_have_the_contracts_settings(own: Stack) -> None:
    assert topic_facts(own) == {
        f"gourmetgram.{name}": EXPECTED_TOPIC
        for name in ("uploads", "views", "comments", "flags", "moderation_requests", "dead_letter")
    }


def test_a_topic_with_other_settings_is_corrected(own: Stack) -> None:
    wrong = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "gourmetgram.views", incremental_configs=[wrong])
    admin = admin_of(own)  # an answer does not keep the client alive that waits for it
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result()
    assert topic_facts(own)["gourmetgram.views"] != EXPECTED_TOPIC
    ensure_topics(kafka_settings(own))
    wait_until(lambda: topic_facts(own)["gourmetgram.views"] == EXPECTED_TOPIC, what="the corrected setting")


def test_a_topic_with_too_few_partitions_gets_more(own: Stack) -> None:
    ensure_topics(kafka_settings(own), ["small"], partitions=1)
    ensure_topics(kafka_settings(own), ["small"], partitions=4)
    wait_until(
        lambda: len(admin_of(own).list_topics(timeout=10).topics["small"].partitions) == 4,
        what="the new partitions",
    )


def test_no_client_of_the_set_up_is_left_to_complain_about_a_broker_that_is_gone(
    own: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    ensure_topics(kafka_settings(own))
    # Longer away than the two seconds after which a client tries again at the latest.
    own.stop("kafka")
    own.start("kafka")
    assert "gourmetgram-topics" not in capfd.readouterr().err


def test_the_broker_starts_from_the_image_of_its_classes(own: Stack) -> None:
    broker = psutil.Process(pids(own)["kafka"])
    if psutil.LINUX:
        mapped = {Path(part.path).name for part in broker.memory_maps()}
    else:  # other systems do not tell
        mapped = {Path(part).name for part in broker.cmdline() if part.startswith("-XX:SharedArchiveFile=")}
    assert [name for name in mapped if re.fullmatch(r"kafka-[0-9.]+-[0-9a-f]{8}\.jsa", name)]


def test_topics_are_not_created_by_asking_for_them(own: Stack) -> None:
    admin_of(own).list_topics(topic="gourmetgram.typo", timeout=10)
    assert "gourmetgram.typo" not in admin_of(own).list_topics(timeout=10).topics


def test_both_buckets_are_there(own: Stack) -> None:
    client = s3_of(own)
    names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    client.close()
    assert names == {"gourmetgram-images", "gourmetgram-datalake"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_server_comes_back_by_itself(own: Stack, name: str) -> None:
    before = pids(own)[name]
    own.kill(name)
    own.wait_healthy(name)
    # At once, not only after the second for which supervisord calls every program STARTING.
    assert state(own, name) == "RUNNING"
    assert pids(own)[name] not in (before, None)


def test_a_killed_redis_still_has_its_data(own: Stack) -> None:
    with redis_of(own) as client:
        client.set("kept", "yes")
    # The append-only file is written at once and forced to disk every second: SIGKILL loses nothing.
    own.kill("redis")
    own.wait_healthy("redis")
    with redis_of(own) as client:
        assert client.get("kept") == "yes"


def test_a_stopped_server_stays_stopped_until_it_is_started(own: Stack) -> None:
    own.stop("redis")
    assert state(own, "redis") == "STOPPED"
    own.start("redis")
    assert healthy(own, "redis")


@pytest.mark.parametrize("name", ["postgres", "minio"])
def test_a_paused_server_answers_nothing_until_it_is_resumed(own: Stack, name: str) -> None:
    own.pause(name)
    assert state(own, name) == "PAUSED"
    assert not healthy(own, name)
    own.resume(name)
    own.wait_healthy(name)
    # A probe may be late on a busy machine, and a part that was started seconds ago is STARTING until one answers.
    wait_until(lambda: state(own, name) == "RUNNING", 60.0, "a running server")


def test_a_paused_server_can_be_stopped(own: Stack) -> None:
    own.pause("redis")
    own.stop("redis")
    own.start("redis")


def test_a_part_that_the_stack_does_not_have_is_named(own: Stack) -> None:
    with pytest.raises(StackError, match=r"no 'reddis': it has postgres, redis, kafka"):
        own.kill("reddis")


def leave_something(stack: Stack) -> None:
    with cursor(stack) as sql:
        sql.execute("INSERT INTO users (username) VALUES ('kept') ON CONFLICT DO NOTHING")
    with redis_of(stack) as client:
        client.set("kept", "yes")
    ensure_topics(kafka_settings(stack), ["kept"])
    client = s3_of(stack)
    client.put_object(Bucket="gourmetgram-images", Key="kept", Body=b"yes")
    client.close()


def what_is_left(stack: Stack) -> list[bool]:
    """Whether the row, the key, the topic and the object are there."""
    with cursor(stack) as sql:
        sql.execute("SELECT count(*) FROM users WHERE username = 'kept'")
        row = sql.fetchone() == (1,)
    with redis_of(stack) as client:
        key = client.get("kept") == "yes"
    topic = "kept" in admin_of(stack).list_topics(timeout=10).topics
    client = s3_of(stack)
    stored = client.list_objects_v2(Bucket="gourmetgram-images").get("KeyCount", 0) == 1
    client.close()
    return [row, key, topic, stored]


def test_down_keeps_data_and_wipe_deletes_it(own: Stack) -> None:
    leave_something(own)
    own.down()
    assert pids(own) == dict.fromkeys(SERVERS)
    own.up(services=())
    assert what_is_left(own) == [True] * 4

    own.down(wipe=True)
    assert not own.folder.exists()
    assert not own.postgres.data.exists()
    own.up(services=())
    assert what_is_left(own) == [False] * 4


def test_it_comes_up_after_its_supervisor_was_killed_and_left_orphans(own: Stack) -> None:
    orphans = pids(own)
    supervisor = int((own.folder / "supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(supervisor) or _is_zombie(supervisor), what="the supervisor's end")
    own.up(services=())
    assert all(healthy(own, name) for name in SERVERS)
    assert not set(pids(own).values()) & set(orphans.values())


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_failed_start_shows_the_last_log_lines_and_works_once_the_cause_is_gone(own: Stack) -> None:
    own.stop("postgres")
    settings = own.postgres.data / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text(before + "no_such_setting = 1\n")
    with pytest.raises(StackError, match=r"(?s)did not become healthy.*no_such_setting.*`gourmetgram up`"):
        own.up(services=())
    settings.write_text(before)
    own.up(services=())
    assert healthy(own, "postgres")


def test_a_taken_port_is_named_with_the_process_that_holds_it(tmp_path: Path) -> None:
    stack = Stack("blocked", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as blocker:
        port = blocker.getsockname()[1]
        stack.use_port("redis", port)
        with pytest.raises(StackError) as caught:
            stack.up(services=())
    sentence = str(caught.value)
    assert f"Port {port} for Redis is taken by " in sentence
    assert f"(process {os.getpid()})" in sentence
    assert "--port redis=NUMBER" in sentence
    assert "\n" not in sentence
