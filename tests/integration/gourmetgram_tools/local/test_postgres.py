"""Where PostgreSQL's data is, and whose it is."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.postgres import Postgres
from gourmetgram_tools.local.settings import LocalSettings
from gourmetgram_tools.local.stack import Stack

PORT = 1  # never listened on


@pytest.fixture(name="layout")
def layout_fixture(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout("mine", tmp_path)
    yield layout
    Stack("mine", tmp_path).wipe()
    for aside in LocalSettings.load().gourmetgram_system_home.glob(f"{layout.identity}.until-*"):
        shutil.rmtree(aside)


def prepared(layout: Layout) -> Postgres:
    server = Postgres(layout, PORT)
    server.obtain(lambda _detail: None)
    server.prepare(lambda _detail: None)
    return server


def test_the_stacks_folder_shows_the_data_wherever_it_is(layout: Layout) -> None:
    server = prepared(layout)
    version = layout.folder / "postgres" / "data" / "PG_VERSION"
    assert version.read_text().strip() == "18"
    made = version.stat().st_ino
    assert (server.data / "PG_VERSION").stat().st_ino == made
    prepared(layout)
    assert version.stat().st_ino == made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's data is outside of the checkout")
def test_data_of_a_deleted_checkout_is_set_aside_not_used(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    left = layout.postgres_home / "data" / "PG_VERSION"
    left.parent.mkdir(parents=True)
    left.write_text("of a checkout that is gone")
    shutil.chown(left.parent, "nobody")
    server = prepared(layout)
    assert (server.data / "PG_VERSION").read_text().strip() == "18"
    (aside,) = layout.postgres_home.parent.glob(f"{layout.identity}.until-*")
    assert (aside / "data" / "PG_VERSION").read_text() == "of a checkout that is gone"
    assert f"it is kept as {aside}" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's stack over")
def test_root_finds_the_data_of_a_plain_users_stack(layout: Layout) -> None:
    plain = layout.folder / "postgres" / "data"
    plain.mkdir(parents=True)
    assert Postgres(layout, PORT).data == plain
