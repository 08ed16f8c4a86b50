"""Several API processes on one port: exact counts, one relay, metrics that add up, and restarts."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from api_v2.relay import LOCK_KEY, WAKE_CHANNEL
from gourmetgram.settings import PROJECT_ROOT
from tests.support.api import Api, running_api
from tests.support.consumer_platform import free_port
from tests.support.databases import owner_url, role_url
from tests.support.waiting import wait_until, wait_until_async

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

WORKERS = 2
_VIEWS = 'gourmetgram_http_requests_total{method="POST",route="/images/{image_id}/view",status="200"}'


class Served:
    """`python -m api_v2` with two processes behind its port."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.log = log
        self.port = free_port()
        variables = {
            **os.environ,
            **environment,
            "DATABASE_URL": role_url(environment["DATABASE_URL"], "gourmetgram_api"),
            "API_WORKERS": str(WORKERS),
        }
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "api_v2", "--port", str(self.port)],
                cwd=PROJECT_ROOT,
                env=variables,
                stdout=output,
                stderr=output,
            )

    def workers(self) -> set[int]:
        """Numbers of the processes that serve."""
        found = set()
        for child in psutil.Process(self.popen.pid).children():
            # A killed one exists until the supervisor takes note.
            with contextlib.suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    def wait_for_workers(self, without: int | None = None) -> None:
        def complete() -> bool:
            found = self.workers()
            return len(found) == WORKERS and without not in found

        wait_until(complete, 60.0, "all API processes")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def served(api_environment: dict[str, str], tmp_path: Path) -> Iterator[Served]:
    server = Served(api_environment, tmp_path / "log")
    try:
        wait_until(lambda: server.log.read_text().count("Application startup complete") == WORKERS, 60.0, "the start")
        yield server
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
        server.popen.kill()
        server.popen.wait(20)


@pytest.fixture
async def api(served: Served) -> AsyncIterator[Api]:
    database = await asyncpg.connect(owner_url(served.environment["DATABASE_URL"]))
    # A new connection for each request: the kernel gives it to one of the processes.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=served.url, timeout=30, limits=limits) as http:
        yield Api(2, http, database, served.environment)
    await database.close()


async def _views(api: Api, image_id: str, number: int) -> None:
    for _ in range(0, number, 20):
        answers = await asyncio.gather(*(api.view(image_id) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}


async def _published(api: Api) -> None:
    async def empty() -> bool:
        return await api.waiting() == 0

    await wait_until_async(empty, 60.0, "an empty outbox")


async def test_counts_are_exact_and_metrics_and_health_add_up_whichever_process_answers(
    served: Served, api: Api
) -> None:
    image_id = await api.image()
    before = {worker: psutil.Process(worker).cpu_times().user for worker in served.workers()}
    await _views(api, image_id, 400)
    await _published(api)
    assert await api.database.fetchval("SELECT views FROM images WHERE id = $1", image_id) == 400
    assert len({event["event_id"] for event in await api.events("view", image_id, 400)}) == 400
    for worker, seconds in before.items():
        assert psutil.Process(worker).cpu_times().user > seconds, "one process served everything"
    views_topic = served.environment["KAFKA_TOPIC_VIEWS"]
    for _ in range(6):
        text = (await api.http.get("/metrics")).text
        assert f"{_VIEWS} 400.0" in text
        assert f'gourmetgram_outbox_published_total{{topic="{views_topic}"}} 400.0' in text
        health = (await api.http.get("/health")).json()
        assert health["kafka_stats"]["events_by_topic"][views_topic] == 400
        assert health["kafka_stats"]["outbox_pending"] == 0


async def test_one_process_publishes_the_events_of_all(served: Served, api: Api) -> None:
    image_id = await api.image()
    await _views(api, image_id, 40)
    await _published(api)
    assert served.log.read_text().count("This process publishes the outbox now") == 1


async def test_a_relay_that_stands_by_tells_the_active_one_of_new_events(api_environment: dict[str, str]) -> None:
    active = await asyncpg.connect(owner_url(api_environment["DATABASE_URL"]))
    told = asyncio.Event()
    try:
        await active.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await active.add_listener(WAKE_CHANNEL, lambda *_: told.set())
        async with running_api(2, api_environment) as api:
            await api.user()
            await asyncio.wait_for(told.wait(), 30.0)
    finally:
        await active.close()


async def test_a_killed_process_is_started_again_and_loses_nothing_that_was_answered(served: Served, api: Api) -> None:
    image_id = await api.image()
    answered = unknown = 0
    stop = asyncio.Event()

    async def client() -> None:
        nonlocal answered, unknown
        while not stop.is_set():
            try:
                status = (await api.view(image_id)).status_code
            except httpx.TransportError:
                unknown += 1
                await asyncio.sleep(0)
                continue
            answered += status == 200
            unknown += status != 200

    clients = [asyncio.create_task(client()) for _ in range(8)]
    try:
        for _ in range(2):
            for worker in list(served.workers()):
                goal = answered + 100

                async def more(goal: int = goal) -> bool:
                    return answered >= goal

                await wait_until_async(more, 60.0, "answered views")
                os.kill(worker, signal.SIGKILL)
                await asyncio.to_thread(served.wait_for_workers, worker)
    finally:
        stop.set()
        await asyncio.gather(*clients)
    await _published(api)
    views = await api.database.fetchval("SELECT views FROM images WHERE id = $1", image_id)
    assert answered <= views <= answered + unknown
    events = await api.events("view", image_id, views)
    assert len({event["event_id"] for event in events}) == views


async def test_sigterm_drains_all_processes(served: Served, api: Api) -> None:
    image_id = await api.image()
    workers = served.workers()
    answers = await asyncio.gather(*(api.view(image_id) for _ in range(100)))
    served.popen.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(served.popen.wait, 20) == 0
    assert not any(psutil.pid_exists(worker) for worker in workers)
    answered = sum(answer.status_code == 200 for answer in answers)
    assert await api.database.fetchval("SELECT views FROM images WHERE id = $1", image_id) == answered
    assert "Traceback" not in served.log.read_text()


async def test_the_processes_end_with_the_one_that_started_them(served: Served) -> None:
    workers = served.workers()
    served.popen.kill()
    await asyncio.to_thread(served.popen.wait, 20)
    wait_until(lambda: not any(psutil.pid_exists(worker) for worker in workers), 20.0, "the end of all processes")


def test_a_wrong_setting_ends_the_start_with_one_sentence(api_environment: dict[str, str]) -> None:
    variables = {**os.environ, **api_environment, "API_WORKERS": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "api_v2"], cwd=PROJECT_ROOT, env=variables, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("api_v2 cannot start: API_WORKERS:")
