"""The scorer while servers fail and while it is killed: every request has one row in the end, none is lost."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from gourmetgram.events import ModerationRequest
from gourmetgram.settings import KafkaSettings, process_environment
from gourmetgram.topics import ensure_topics
from gourmetgram_tools.local.stack import Stack
from risk_scoring_service.service import ScoringService
from tests.support.databases import create_database
from tests.support.own_stack import own_stack
from tests.support.scoring import People, Requests, make_request, running_scorer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(400)]

STOP_S = 5.0
"""The contract's limit for a stop. It is what `docker stop` would allow before it kills."""

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Servers that these tests may stop."""
    with own_stack("scorer-faults") as stack:
        stack.up(services=())
        yield stack


@pytest.fixture
def environment(own: Stack, unique_name: Callable[[str], str]) -> dict[str, str]:
    """A scorer's variables, with a database, topics and a group of this test's own."""
    variables = {
        **own.environment("risk_scoring_service"),
        "DATABASE_URL": create_database(own, unique_name("scorer")),
        "MODERATION_TOPIC": unique_name("moderation"),
        "DEAD_LETTER_TOPIC": unique_name("dead-letter"),
        "KAFKA_CONSUMER_GROUP": unique_name("scorer"),
        "HEALTH_HOST": "127.0.0.1",
        "HEALTH_PORT": "0",
    }
    topics = [variables["MODERATION_TOPIC"], variables["DEAD_LETTER_TOPIC"]]
    ensure_topics(KafkaSettings.load(variables), topics)
    return variables


@pytest.fixture
def people(environment: dict[str, str]) -> People:
    return People(environment["DATABASE_URL"])


@pytest.fixture
def requests(environment: dict[str, str]) -> Requests:
    return Requests(KafkaSettings.load(environment), environment["KAFKA_CONSUMER_GROUP"])


def health(service: ScoringService) -> tuple[int, dict[str, bool]]:
    answer = httpx.get(f"http://127.0.0.1:{service.health_port}/health")
    return answer.status_code, answer.json()["checks"]


def every_request_has_its_row(people: People, sent: list[ModerationRequest]) -> bool:
    stored = [row["inference_request_id"] for row in people.decisions()]
    assert len(stored) == len(set(stored))
    return set(stored) == {request.request_id for request in sent}


def test_postgresql_goes_away_and_comes_back(
    own: Stack, environment: dict[str, str], people: People, requests: Requests
) -> None:
    images = [people.image() for _ in range(5)]
    sent = [make_request(image) for image in images]
    with running_scorer(environment) as service:
        requests.send(*sent)
        wait_until(lambda: requests.committed() == 5, PATIENCE_S)
        assert wait_until(lambda: health(service)[0] == 200)
        own.stop("postgres")
        try:
            # Noticed although nothing is asked of it.
            wait_until(lambda: health(service)[0] == 503, PATIENCE_S)
            assert health(service)[1]["postgres"] is False
            during = [make_request(image) for image in images * 40]
            requests.send(*during)
        finally:
            own.start("postgres")
        wait_until(lambda: every_request_has_its_row(people, sent + during), PATIENCE_S)
        wait_until(lambda: requests.committed() == 205, PATIENCE_S)
        wait_until(lambda: health(service)[0] == 200, PATIENCE_S)


def test_redis_goes_away_and_only_requests_that_need_it_wait(
    own: Stack, environment: dict[str, str], people: People, requests: Requests
) -> None:
    image = people.image()
    bare = make_request(image)
    bare.context.clear()
    with running_scorer(environment):
        own.stop("redis")
        try:
            complete = [make_request(image) for _ in range(10)]
            requests.send(bare, *complete)
            wait_until(lambda: every_request_has_its_row(people, complete), PATIENCE_S)
        finally:
            own.start("redis")
        wait_until(lambda: every_request_has_its_row(people, [bare, *complete]), PATIENCE_S)
        wait_until(lambda: requests.committed() == 11, PATIENCE_S)


def test_the_broker_goes_away_and_comes_back(
    own: Stack, environment: dict[str, str], people: People, requests: Requests
) -> None:
    image = people.image()
    before = make_request(image)
    with running_scorer(environment) as service:
        requests.send(before)
        wait_until(lambda: people.decision(before.request_id), PATIENCE_S)
        # Not stopped in an orderly way: clients may forget their brokers then, and nobody starts this scorer again.
        own.kill("kafka")
        wait_until(lambda: health(service)[1]["kafka"] is False, PATIENCE_S)
        own.wait_healthy("kafka")
        after = [make_request(image) for _ in range(10)]
        requests.send(b"{", *after)
        wait_until(lambda: every_request_has_its_row(people, [before, *after]), PATIENCE_S)
        with requests.dead_letters() as dead:
            wait_until(lambda: dead.at_least(1), PATIENCE_S)
        wait_until(lambda: requests.committed() == 12, PATIENCE_S)
        wait_until(lambda: health(service)[0] == 200, PATIENCE_S)


@contextmanager
def scorer_process(environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The service as a process of its own, as in production."""
    process = subprocess.Popen(
        [sys.executable, "-m", "risk_scoring_service"], env={**process_environment(), **environment}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_killed_again_and_again_in_the_middle_of_a_backlog(
    environment: dict[str, str], people: People, requests: Requests, ending: signal.Signals
) -> None:
    def has_more_rows_than(number: int) -> bool:
        return len(people.decisions()) > number

    images = [people.image() for _ in range(10)]
    sent = [make_request(images[number % 10]) for number in range(3_000)]
    requests.send(*sent)
    # Small batches, so that there is a middle.
    variables = {**environment, "SCORER_MAX_POLL_RECORDS": "20"}
    for _ in range(3):
        rows = len(people.decisions())
        with scorer_process(variables) as process:
            wait_until(partial(has_more_rows_than, rows + 100), PATIENCE_S)
            process.send_signal(ending)
            status = process.wait(STOP_S)
        assert status == (0 if ending is signal.SIGTERM else -ending)
    assert len(people.decisions()) < 3_000
    with scorer_process(environment):
        wait_until(lambda: every_request_has_its_row(people, sent), PATIENCE_S)
        wait_until(lambda: requests.committed() == 3_000, PATIENCE_S)


@pytest.mark.parametrize("server", ["postgres", "kafka", "redis"])
def test_a_stop_is_in_time_while_a_server_stalls_and_loses_nothing(
    own: Stack, environment: dict[str, str], people: People, requests: Requests, server: str
) -> None:
    image = people.image()
    bare = make_request(image)
    bare.context.clear()
    sent = [make_request(image), bare]
    with scorer_process(environment) as process:
        requests.send(sent[0])
        wait_until(lambda: people.decision(sent[0].request_id), PATIENCE_S)
        if server != "kafka":
            own.pause(server)
            requests.send(bare)
        else:
            requests.send(bare)
            own.pause(server)
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0
        finally:
            own.resume(server)
    with scorer_process(environment):
        wait_until(lambda: every_request_has_its_row(people, sent), PATIENCE_S)
        wait_until(lambda: requests.committed() == 2, PATIENCE_S)


def test_started_before_its_servers_it_waits_for_them(
    own: Stack, environment: dict[str, str], people: People, requests: Requests
) -> None:
    sent = [make_request(people.image())]
    requests.send(*sent)
    own.stop("postgres")
    own.stop("kafka")
    with running_scorer(environment) as service:
        try:
            assert health(service)[0] == 503
        finally:
            own.start("kafka")
            own.start("postgres")
        wait_until(lambda: every_request_has_its_row(people, sent), PATIENCE_S)
        wait_until(lambda: health(service)[0] == 200, PATIENCE_S)
