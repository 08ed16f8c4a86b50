"""The data generator as a process of its own, against a real API with real stores."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.local.services import inherited_environment
from tests.support.api import Api
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
NO_MORE_AFTER_S = 60.0


class Generator:
    """A running generator; its log lines arrive in `lines`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())

    async def logged(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Wait for a line, behind the first `after` ones."""

        async def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in self.lines[after:])
            return next((match for match in matches if match), None)

        return await wait_until_async(found, NO_MORE_AFTER_S, f"a log line like {pattern!r}")

    async def ended(self) -> int:
        """Wait for the end; returns the exit code."""
        code = await asyncio.wait_for(self.process.wait(), NO_MORE_AFTER_S)
        await self._reader
        return code


@asynccontextmanager
async def generator(api: Api, folder: Path, **variables: str) -> AsyncIterator[Generator]:
    """Start a generator; it is killed when the test leaves it running."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "data_generator"),
        cwd=PROJECT_ROOT,
        env={
            **inherited_environment(),
            "GENERATOR_API_URL": str(api.http.base_url),
            "GENERATOR_DATASET_PATH": str(folder / "no-data-set"),
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": "0",
            **variables,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    running = Generator(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()


async def burst(api: Api, folder: Path, **variables: str) -> tuple[int, list[str]]:
    """A viral burst from its start to its end; returns the exit code and the log lines."""
    async with generator(api, folder, GENERATOR_MODE="simulate_viral", **variables) as running:
        return await running.ended(), running.lines


def messages(lines: list[str]) -> list[str]:
    """The lines without time, logger and level."""
    return [line.split(" - ", 3)[-1] for line in lines]


async def actors_of(api: Api, image_id: str) -> list[dict[str, Any]]:
    """Who commented on or flagged an image."""
    rows = await api.database.fetch(
        "SELECT u.id, u.is_test_account, u.year_of_birth, u.tos_version_accepted, a.actor_eligible FROM users u JOIN "
        "(SELECT user_id, actor_eligible FROM comments WHERE image_id = $1 "
        "UNION ALL SELECT user_id, actor_eligible FROM flags WHERE image_id = $1) a ON a.user_id = u.id",
        image_id,
    )
    return [dict(row) for row in rows]


async def test_a_burst_sends_what_it_plans_and_its_first_and_last_line_name_the_image(
    api_v2: Api, tmp_path: Path
) -> None:
    before = await api_v2.traces()
    code, lines = await burst(api_v2, tmp_path)
    assert code == 0, lines
    said = messages(lines)
    first = next(line for line in said if line.startswith("Simulating viral burst for image: "))
    image_id = first.rpartition(" ")[2]
    assert said[said.index(first) + 1] == "Burst plan: views=110, comments=8, flags=2"
    assert said[-1] == (
        f"Viral burst complete for image: {image_id} (users=11, uploads=1, views=110, comments=8, flags=2, errors=0)"
    )
    image = await api_v2.row("SELECT views, category, source FROM images WHERE id = $1", image_id)
    assert (image["views"], image["source"]) == (110, "user_upload")
    after = await api_v2.traces()
    assert {name: after[name] - before[name] for name in after} == {
        "users": 11, "images": 1, "comments": 8, "flags": 2, "views": 110, "objects": 1, "events": 121,
    }  # fmt: skip


async def test_everybody_in_a_burst_is_eligible_and_acts_once(api_v2: Api, tmp_path: Path) -> None:
    uploader = await api_v2.user()
    image_id = await api_v2.image(uploader)
    # Even when every random user would be a test account.
    options = {"GENERATOR_TARGET_IMAGE_ID": image_id, "GENERATOR_TEST_ACCOUNT_RATE": "1"}
    code, lines = await burst(api_v2, tmp_path, GENERATOR_BURST_VIEWS="3", **options)
    assert code == 0, lines
    actors = await actors_of(api_v2, image_id)
    assert len(actors) == len({actor["id"] for actor in actors}) == 10
    assert uploader not in {str(actor["id"]) for actor in actors}
    assert all(actor["actor_eligible"] and not actor["is_test_account"] for actor in actors)
    assert {actor["tos_version_accepted"] for actor in actors} == {3}
    image = await api_v2.row("SELECT views FROM images WHERE id = $1", image_id)
    assert image["views"] == 3


async def test_the_events_of_a_burst_come_in_the_order_views_comments_flags(api_v2: Api, tmp_path: Path) -> None:
    image_id = await api_v2.image()
    code, lines = await burst(api_v2, tmp_path, GENERATOR_TARGET_IMAGE_ID=image_id, GENERATOR_BURST_VIEWS="4")
    assert code == 0, lines
    times = {kind: await api_v2.events(kind, image_id, number) for kind, number in [("comment", 8), ("flag", 2)]}
    views = await api_v2.events("view", image_id, 4)
    assert [len(views), len(times["comment"]), len(times["flag"])] == [4, 8, 2]
    last_view = max(view["viewed_at"] for view in views)
    comments = [comment["created_at"] for comment in times["comment"]]
    assert last_view < min(comments)
    assert max(comments) < min(flag["created_at"] for flag in times["flag"])


async def test_a_burst_on_an_image_that_the_api_does_not_know_fails(api_v2: Api, tmp_path: Path) -> None:
    code, lines = await burst(api_v2, tmp_path, GENERATOR_TARGET_IMAGE_ID=UNKNOWN_ID)
    assert code == 1
    assert "Image not found" in messages(lines)[-2]
    assert messages(lines)[-1].startswith(f"Viral burst INCOMPLETE for image: {UNKNOWN_ID}")
    assert not any("Traceback" in line for line in lines)


async def test_a_burst_without_an_api_fails_in_a_sentence(api_v2: Api, tmp_path: Path) -> None:
    options = {"GENERATOR_API_URL": "http://127.0.0.1:1", "GENERATOR_REQUEST_TIMEOUT": "0.5"}
    code, lines = await burst(api_v2, tmp_path, **options)
    assert code == 1
    assert "The API is not ready, so there is no burst" in messages(lines)[-1]
    assert not any("Traceback" in line for line in lines)


async def test_traffic_makes_events_of_all_kinds_and_ends_cleanly(api_v2: Api, tmp_path: Path) -> None:
    before = await api_v2.traces()
    initial = {"GENERATOR_INITIAL_USERS": "5", "GENERATOR_INITIAL_IMAGES": "3"}
    async with generator(api_v2, tmp_path, GENERATOR_ARRIVAL_RATE="72000", **initial) as running:
        await running.logged("Initial users and images: asked for 5 and 3")
        await running.logged("Poisson traffic begins: 72000 events per hour")
        after = await enough_of_everything(api_v2, before)
        running.process.terminate()
        assert await running.ended() == 0
    assert not any("Traceback" in line or " - ERROR - " in line for line in running.lines), running.lines
    final = messages(running.lines)[-1]
    counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", final.partition(";")[0])}
    assert final.startswith("Final statistics: ")
    assert counts["errors"] == 0
    assert counts["uploads"] >= after["images"] - before["images"] >= 4
    rows = await api_v2.traces()
    done = {name: rows[name] - before[name] for name in ("users", "images", "comments", "flags", "views")}
    counted = {"images": counts["uploads"], **{name: counts[name] for name in done if name != "images"}}
    # What was under way at the end may have been done without the generator's learning of it.
    given_up = sum(int(number) for number in re.findall(r"Gave up (\d+) requests", "\n".join(running.lines)))
    assert all(counted[name] <= done[name] for name in done)
    assert sum(done.values()) - sum(counted.values()) <= given_up
    assert re.search(r"; known images=\d+, known comments=\d+, known users=\d+$", final)


async def enough_of_everything(api: Api, before: dict[str, int]) -> dict[str, int]:
    """Wait until traffic has made at least one of each kind beyond the initial five users and three images."""
    least = {"users": 6, "images": 4, "views": 5, "comments": 1, "flags": 1}

    async def reached() -> dict[str, int] | None:
        now = await api.traces()
        return now if all(now[name] - before[name] >= number for name, number in least.items()) else None

    return await wait_until_async(reached, NO_MORE_AFTER_S, "traffic of every kind")


async def test_a_burst_that_is_stopped_says_how_far_it_came(api_v2: Api, tmp_path: Path) -> None:
    variables = {"GENERATOR_MODE": "simulate_viral", "GENERATOR_BURST_VIEWS": "100000"}
    async with generator(api_v2, tmp_path, **variables) as running:
        image_id = (await running.logged("Simulating viral burst for image: (.*)"))[1]

        async def viewed() -> bool:
            return bool((await api_v2.row("SELECT views FROM images WHERE id = $1", image_id))["views"])

        await wait_until_async(viewed, NO_MORE_AFTER_S, "a view")
        running.process.terminate()
        assert await running.ended() == 1
    last = messages(running.lines)[-1]
    assert last.startswith(f"Viral burst INCOMPLETE for image: {image_id} (users=")


async def test_a_restarted_generator_goes_on_with_the_images_that_are_there(api_v2: Api, tmp_path: Path) -> None:
    user_id = await api_v2.user()
    image_id = await api_v2.image(user_id)
    for _ in range(50):
        await api_v2.view(image_id)
    images = await api_v2.count("images")
    async with generator(api_v2, tmp_path, GENERATOR_ARRIVAL_RATE="72000") as running:
        known = await running.logged(r"Going on with what is there: known images=(\d+), .*known users=(\d+)")
        assert int(known[1]) == images

        async def more_views() -> bool:
            row = await api_v2.row("SELECT views FROM images WHERE id = $1", image_id)
            return bool(row["views"] > 50)

        await wait_until_async(more_views, NO_MORE_AFTER_S, "a view of an image of an earlier run")
        running.process.terminate()
        assert await running.ended() == 0


async def test_refused_actions_are_counted_and_traffic_goes_on(api_v2: Api, tmp_path: Path) -> None:
    image_id = await api_v2.image()
    await api_v2.database.execute("UPDATE images SET deleted_at = now() WHERE id <> $1", image_id)
    async with generator(api_v2, tmp_path, GENERATOR_ARRIVAL_RATE="72000") as running:
        await running.logged("Going on with what is there: known images=1,")
        await api_v2.database.execute("UPDATE images SET deleted_at = now() WHERE id = $1", image_id)
        await running.logged("failed: .*Image not found")
        await running.logged("Image .* uploaded", after=len(running.lines))
        running.process.terminate()
        assert await running.ended() == 0
    assert re.search(r"errors=[1-9]", messages(running.lines)[-1])


async def test_a_generator_that_waits_for_the_api_can_be_stopped(api_v2: Api, tmp_path: Path) -> None:
    async with generator(api_v2, tmp_path, GENERATOR_API_URL="http://127.0.0.1:1") as running:
        await running.logged("Waiting for the API at http://127.0.0.1:1")
        port = (await running.logged(r"Health and metrics are served on port (\d+)"))[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            health, metrics = await http.get("/health"), await http.get("/metrics")
        # It waits for the API by design: nothing is wrong with the generator.
        assert (health.status_code, health.json()) == (200, {"status": "healthy", "checks": {"running": True}})
        assert "gourmetgram_generator_actions_total" in metrics.text
        running.process.send_signal(signal.SIGINT)
        assert await running.ended() == 0
    assert messages(running.lines)[-1].startswith("Final statistics: users=0")


async def test_users_are_as_the_contract_describes_them(api_v2: Api, tmp_path: Path) -> None:
    started = await api_v2.database.fetchval("SELECT now()")
    options = {"GENERATOR_TOS_VERSION": "4", "GENERATOR_TEST_ACCOUNT_RATE": "0.3", "GENERATOR_INITIAL_USERS": "150"}
    async with generator(api_v2, tmp_path, **options) as running:
        await running.logged("Initial users and images")
    facts = await api_v2.row(
        "SELECT count(*) AS users, min(tos_version_accepted) AS oldest, max(tos_version_accepted) AS newest,"
        " min(year_of_birth) AS first, max(year_of_birth) AS last, count(*) FILTER (WHERE is_test_account) AS tests,"
        " array_agg(DISTINCT country_of_residence) AS countries, bool_and(tos_accepted_at <= created_at) AS before,"
        " max(created_at - tos_accepted_at) < interval '1 minute' AS just_before,"
        " EXTRACT(YEAR FROM max(created_at))::int AS year, bool_and(username ~ '^\\S+_\\d{2,4}$') AS named"
        " FROM users WHERE created_at > $1",
        started,
    )
    # Two of them may have drawn the same name.
    assert facts["users"] >= 148
    assert (facts["oldest"], facts["newest"]) == (4, 4)
    assert facts["first"] >= 1960
    assert facts["year"] - 18 <= facts["last"] <= facts["year"] - 13, "some are minors"
    assert 20 <= facts["tests"] <= 75
    assert set(facts["countries"]) == {"US", "IN", "BR", "DE", "GB", "CA", "MX", "FR", "JP", "KR", "NG", "ZA"}
    assert facts["before"]
    assert facts["just_before"]
    assert facts["named"]


async def test_a_flag_reaches_comments_of_earlier_runs(api_v2: Api, tmp_path: Path) -> None:
    await api_v2.database.execute("UPDATE images SET deleted_at = now()")
    user_id = await api_v2.user()
    image_id = await api_v2.image(user_id)
    comments = {(await api_v2.comment(image_id, user_id)).json()["id"] for _ in range(50)}
    async with generator(api_v2, tmp_path, GENERATOR_ARRIVAL_RATE="36000") as running:
        known = await running.logged(r"Going on with what is there: .*known comments=(\d+)")
        assert int(known[1]) == len(comments)

        async def flagged() -> bool:
            rows = await api_v2.database.fetch("SELECT comment_id::text FROM flags WHERE comment_id IS NOT NULL")
            return any(row["comment_id"] in comments for row in rows)

        await wait_until_async(flagged, NO_MORE_AFTER_S, "a flag on a comment of an earlier run")


async def test_wrong_settings_refuse_to_start_with_a_sentence(api_v2: Api, tmp_path: Path) -> None:
    async with generator(api_v2, tmp_path, GENERATOR_ARRIVAL_RATE="fast") as running:
        assert await running.ended() == 2
    (line,) = running.lines
    assert line.startswith("GENERATOR_ARRIVAL_RATE: ")
