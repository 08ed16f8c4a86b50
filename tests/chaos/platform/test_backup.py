"""A backup under traffic: all stores are wiped and restored, and nothing acknowledged before its point is missing."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg2
import pytest
from typer.testing import CliRunner

from gourmetgram.clients import s3
from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.moments import parse_utc
from gourmetgram_tools.backup.folder import BackupFolder, BackupManifest
from gourmetgram_tools.backup.restoring import restore_backup
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.local.progress import LogProgress
from gourmetgram_tools.local.stack import Stack
from tests.support.aggregate_once import aggregate
from tests.support.own_stack import assert_no_difference, own_stack
from tests.support.waiting import wait_until
from tests.support.write_load import WriteLoad

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(900)]

SERVICES = ("api_v2", "stream_consumer", "risk_scoring_service")
MODEL = "models/moderation/any/metadata.json"
ROWS = """
    SELECT 'images', id::text, 1 FROM images UNION ALL SELECT 'views', id::text, views FROM images
    UNION ALL SELECT 'comments', id::text, 1 FROM comments UNION ALL SELECT 'flags', id::text, 1 FROM flags
"""


class Acknowledged(NamedTuple):
    """A write that the API has answered with 200, and when the answer had arrived.

    Attributes:
        row_id: id of the new row; of a view, id of the image.
    """

    at: datetime
    table: str
    row_id: str


class RememberingLoad(WriteLoad):
    """Writes uploads, too, and remembers each acknowledged row."""

    def __init__(self, api_url: str) -> None:
        super().__init__(api_url, uploads=0.05)
        self.acknowledged: list[Acknowledged] = []

    def note(self, answer: httpx.Response) -> None:
        """Remember the row of an acknowledged write."""
        if answer.status_code != httpx.codes.OK:
            return
        kind, _, rest = answer.request.url.path.strip("/").partition("/")
        table = {"upload": "images", "comments": "comments", "flags": "flags"}.get(kind, "views")
        row_id = rest.removesuffix("/view") if table == "views" else answer.json()["id"]
        self.acknowledged.append(Acknowledged(datetime.now(UTC), table, row_id))


class Saved(NamedTuple):
    """A stack whose stores were wiped and restored, and the facts from before."""

    stack: Stack
    folder: Path
    killed: Path
    manifest: BackupManifest
    acknowledged: list[Acknowledged]
    aggregated: int


@pytest.fixture(scope="module", name="saved")
def saved_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    folder, killed = tmp_path_factory.mktemp("backup") / "one", tmp_path_factory.mktemp("backup") / "killed"
    with own_stack("platform-backup") as stack:
        stack.up(SERVICES)
        with RememberingLoad(_url(stack)) as load:
            load.wait_for_more(300)
            aggregated = aggregate(Sources.load(stack.environment())).records
            platform = platform_of(stack)
            client = s3.connect(platform.objects, s3.JOB)
            client.put_object(Bucket=platform.models.model_bucket, Key=MODEL, Body=b"{}", ContentType="text/json")
            stack.stop("stream_consumer")
            load.wait_for_more(300)
            stack.kill("risk_scoring_service")
            stack.start("stream_consumer", wait=False)
            load.wait_for_more(20)
            _kill_a_backup(stack, killed)
            said = _run("backup", str(folder), "--stack", stack.name)
            load.wait_for_more(100)
        assert set(load.answers) == {200}
        stack.wipe()
        stack.up(services=())
        manifest = BackupFolder(folder).manifest()
        promise = f"Each write that was acknowledged before {manifest.point} is in it."
        assert promise in said
        assert promise in _run("backup", str(folder), "--verify")
        assert promise in _run("restore", str(folder), "--stack", stack.name)
        stack.up(SERVICES)
        yield Saved(stack, folder, killed, manifest, load.acknowledged, aggregated)


def test_after_a_restore_the_audit_findsassert_no_difference(saved: Saved) -> None:
    assert assert_no_difference(saved.stack).events > 500


def test_each_write_that_was_acknowledged_before_the_point_is_there_after_the_restore(saved: Saved) -> None:
    point = parse_utc(saved.manifest.point)
    before = [write for write in saved.acknowledged if write.at < point]
    assert len(before) < len(saved.acknowledged)
    wanted = Counter((write.table, write.row_id) for write in before)
    assert {table for table, _row_id in wanted} == {"images", "comments", "flags", "views"}
    with psycopg2.connect(platform_of(saved.stack).postgres.database_url) as connection, connection.cursor() as cursor:
        cursor.execute(ROWS)
        stored = {(table, row_id): number for table, row_id, number in cursor.fetchall()}
    assert {row: number for row, number in wanted.items() if stored.get(row, 0) < number} == {}


def test_a_killed_backup_is_recognised(saved: Saved) -> None:
    with pytest.raises(PermanentError, match="it was interrupted"):
        restore_backup(platform_of(saved.stack), saved.killed, LogProgress())


def test_objects_keep_content_and_type(saved: Saved) -> None:
    platform = platform_of(saved.stack)
    found = s3.connect(platform.objects, s3.JOB).get_object(Bucket=platform.models.model_bucket, Key=MODEL)
    assert (found["Body"].read(), found["ContentType"]) == (b"{}", "text/json")


def test_after_a_restore_the_platform_goes_on(saved: Saved) -> None:
    assert saved.aggregated > 0
    with WriteLoad(_url(saved.stack)) as load:
        load.wait_for_more(200)
    assert set(load.answers) == {200}
    assert aggregate(Sources.load(saved.stack.environment())).records > 0
    assert_no_difference(saved.stack)


def test_stores_in_use_are_not_overwritten(saved: Saved) -> None:
    with pytest.raises(PermanentError, match=r"stop all services first\. Nothing was changed"):
        restore_backup(platform_of(saved.stack), saved.folder, LogProgress())


def test_stores_with_data_are_not_overwritten(saved: Saved) -> None:
    for name in SERVICES:
        saved.stack.stop(name)
    with pytest.raises(PermanentError, match=r"The table \w+ of the database application is not empty"):
        restore_backup(platform_of(saved.stack), saved.folder, LogProgress())


def _url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports.api}"


def _kill_a_backup(stack: Stack, folder: Path) -> None:
    """Kill a backup while it lets Redis wait."""
    command = [sys.executable, "-m", "gourmetgram_tools.cli.main", "backup", str(folder), "--stack", stack.name]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until((folder / "redis.parquet").exists, 240.0, "the keys of Redis")
        process.kill()


def _run(*words: str) -> str:
    """Run the command, and return its output."""
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
