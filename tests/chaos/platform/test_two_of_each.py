"""Two API processes, two consumers, two scorers and two Redis servers under writes, each killed in turn."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from gourmetgram.clients.redis_servers import server_of_image
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.erasure.erasing import erase
from gourmetgram_tools.erasure.rows import Subject
from gourmetgram_tools.inspection.skew import measure_skew
from gourmetgram_tools.inspection.trace import trace
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.stack import Stack
from tests.support.aggregate_once import aggregate
from tests.support.byte_search import Content, everything, places_with
from tests.support.consumer_platform import free_port
from tests.support.own_stack import assert_no_difference, own_stack
from tests.support.waiting import wait_until
from tests.support.write_load import WriteLoad

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(600)]

SERVICES = ("api_v2", "stream_consumer", "risk_scoring_service")


class Twin:
    """A second process of a part, with the variables of the first; started again after each kill."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = {**os.environ, **environment}
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self.popen = subprocess.Popen(
                self._command, cwd=PROJECT_ROOT, env=self._environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        """SIGKILL."""
        self.popen.kill()
        self.popen.wait(20)


def _second_redis(folder: Path, port: int) -> Twin:
    files = folder / "redis"
    files.mkdir()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(files), "--appendonly", "yes"]
    return Twin(
        [str(toolchain.valkey_server()), *options, "--ignore-warnings", "ARM64-COW-BUG"], {}, folder / "redis.log"
    )


def _second(stack: Stack, service: str, folder: Path) -> Twin:
    variables = {**stack.environment(service), "HEALTH_HOST": "127.0.0.1", "HEALTH_PORT": str(free_port())}
    return Twin([sys.executable, "-m", service], variables, folder / f"{service}.log")


def _workers(stack: Stack) -> set[int]:
    """Numbers of the API's processes that serve."""
    found = set()
    for process in psutil.process_iter(["ppid", "cmdline"]):
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor = process.parent()
            if supervisor is None or "spawn_main" not in " ".join(process.info["cmdline"] or ()):
                continue
            if f"--port {stack.ports.api}" in " ".join(supervisor.cmdline()):
                found.add(process.pid)
    return found


def _kill_api_process(stack: Stack) -> None:
    killed = min(_workers(stack))
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(_workers(stack) - {killed}) == 2, 60.0, "both API processes")


@pytest.fixture(name="twins")
def twins_fixture(tmp_path: Path) -> Iterator[tuple[Stack, dict[str, Twin]]]:
    twins: dict[str, Twin] = {}
    port = free_port()
    with own_stack("two-of-each") as stack:
        try:
            twins["redis"] = _second_redis(tmp_path, port)
            stack.up(())
            first = f"redis://127.0.0.1:{stack.environment()['REDIS_PORT']}/0"
            stack.override("REDIS_URLS", f"{first},redis://127.0.0.1:{port}/0")
            stack.override("API_WORKERS", "2")
            stack.up(SERVICES)
            for service in ("stream_consumer", "risk_scoring_service"):
                twins[service] = _second(stack, service, tmp_path)
            yield stack, twins
        finally:
            for twin in twins.values():
                twin.kill()


def test_each_of_two_is_killed_in_turn_and_all_stores_agree(twins: tuple[Stack, dict[str, Twin]]) -> None:
    stack, second = twins
    with WriteLoad(f"http://127.0.0.1:{stack.ports.api}", threads=6, images=12) as load:
        for name in ("stream_consumer", "risk_scoring_service", "redis"):
            load.wait_for_more(150)
            stack.kill(name)
            stack.wait_healthy(name)
            load.wait_for_more(150)
            second[name].kill()
            load.wait_for_more(100)
            second[name].start()
        for _ in range(2):
            load.wait_for_more(150)
            _kill_api_process(stack)
        load.wait_for_more(150)
        stack.kill("api_v2")
        stack.wait_healthy("api_v2")
        load.wait_for_more(150)
    # 409: the lock of a key outlives its killed process by a moment.
    assert set(load.answers) <= {200, 0, 409, 503}
    assert_no_difference(stack)
    _assert_recount(stack)
    assert all(twin.popen.poll() is None for twin in second.values())


def test_skew_trace_and_erase_find_the_state_on_both_servers(
    twins: tuple[Stack, dict[str, Twin]], tmp_path: Path
) -> None:
    stack, _ = twins
    with WriteLoad(f"http://127.0.0.1:{stack.ports.api}", threads=4, images=6, uploads=0.1) as load:
        load.wait_for_more(400)
    assert_no_difference(stack)
    platform = platform_of(stack)
    aggregate(Sources(platform.iceberg, platform.kafka, platform.postgres))
    with open_catalog(platform.iceberg) as catalog:
        skew = measure_skew(platform.postgres, platform.kafka, catalog)
    assert skew.differences == 0 and skew.compared > 0
    user_id, images = _person_on_both(stack)
    servers = [redis.Redis.from_url(url) for url in stack.environment()["REDIS_URLS"].split(",")]
    for image_id in images:
        held = [{key.decode() for key in server.scan_iter(f"image:{image_id}:*")} for server in servers]
        assert {key.key for key in trace(platform, image_id).keys} == held.pop(server_of_image(image_id, 2)) != set()
        assert held == [set()]
    folders = (stack.folder / "redis", tmp_path / "redis")

    def contents() -> list[list[Content]]:
        """Bytes of the first server and of all other stores; then of the second server and of all other stores."""
        return [everything(platform, server, folder) for server, folder in zip(servers, folders, strict=True)]

    before = [{place.split()[0] for place in places_with(user_id, content)} for content in contents()]
    assert all({"redis", "postgres", "kafka", "s3"} <= kinds for kinds in before)
    erase(platform, [Subject("user", user_id)])
    remains = [places_with(name, content) for content in contents() for name in (user_id, *images)]
    assert not any(remains), remains
    assert_no_difference(stack)
    for server in servers:
        server.close()


def _person_on_both(stack: Stack) -> tuple[str, list[str]]:
    """A person with images on both servers, and the images."""
    with contextlib.closing(psycopg2.connect(stack.environment()["DATABASE_URL"])) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT user_id::text, array_agg(id::text) FROM images GROUP BY user_id")
        return next(
            (user_id, images)
            for user_id, images in cursor.fetchall()
            if {server_of_image(image_id, 2) for image_id in images} == {0, 1}
        )


def _assert_recount(stack: Stack) -> None:
    """Views of each image in PostgreSQL, by eligible and other viewers alike, are its views in Redis."""
    urls = stack.environment()["REDIS_URLS"].split(",")
    clients = [redis.Redis.from_url(url, decode_responses=True) for url in urls]
    with contextlib.closing(psycopg2.connect(stack.environment()["DATABASE_URL"])) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id::text, views FROM images")
        stored = dict(cursor.fetchall())
    counted = {}
    for image_id in stored:
        totals = [int(client.get(f"image:{image_id}:total_views") or 0) for client in clients]
        counted[image_id] = totals.pop(server_of_image(image_id, 2))
        assert totals == [0]
    for client in clients:
        client.close()
    assert counted == stored
    assert sum(stored.values()) > 0
