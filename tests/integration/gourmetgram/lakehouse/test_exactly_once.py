"""The aggregation counts every event once, whatever happens around it. Each test ends in equal sums."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import create_producer
from gourmetgram.lakehouse.progress import own_properties, summary_of
from gourmetgram.lakehouse.schemas import EVENTS, WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from tests.support.lakehouse_platform import KillAt, Killed, LakehousePlatform, kill_after
from tests.support.steps import watched_steps

pytestmark = pytest.mark.servers


def test_events_of_all_kinds_end_in_their_windows(lakehouse: LakehousePlatform) -> None:
    for kind in ("view", "comment", "flag", "upload"):
        lakehouse.publish_many(40, kind)
    lakehouse.publish(lakehouse.make("comment", actor_eligible=False), lakehouse.make("flag", actor_eligible=False))
    result = lakehouse.run()
    assert result.records == 162
    assert result.skipped == {}
    lakehouse.assert_exact()


def test_traffic_during_four_runs_is_counted_once(lakehouse: LakehousePlatform) -> None:
    stop = threading.Event()

    def traffic() -> None:
        while not stop.is_set():
            lakehouse.publish_many(50, "view")
            lakehouse.publish_many(10, "comment")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(traffic)
        for _ in range(4):
            lakehouse.run()
        stop.set()
        running.result()
    lakehouse.run()
    lakehouse.assert_exact()


def test_nothing_changes_when_tasks_are_run_again(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(100)
    lakehouse.publish_many(20, "comment")
    lakehouse.run()
    before = lakehouse.snapshot_ids()
    for kind in WINDOWED_KINDS:
        assert write_windows(lakehouse.sources.iceberg, kind).snapshot_id is None
    assert lakehouse.snapshot_ids() == before
    assert lakehouse.run().records == 0
    after = lakehouse.snapshot_ids()
    assert {name for name in after if after[name] != before[name]} == {EVENTS}
    lakehouse.assert_exact()


def test_a_run_killed_after_any_statement_changes_no_count(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(30)
    steps: list[str] = []
    lakehouse.aggregate(steps.append)
    lakehouse.write_windows()
    assert set(steps) == {
        "tables exist", "time frozen", "ranges frozen", "batch read", "files written", "committed",
    }  # fmt: skip
    # By name: how many batches the broker's answers make differs from run to run.
    for step in dict.fromkeys(steps):
        lakehouse.publish_many(10)
        lakehouse.publish_many(5, "flag")
        with pytest.raises(Killed, match=step):
            lakehouse.aggregate(kill_after(step))
        lakehouse.aggregate()
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_windows_killed_after_any_statement_are_completed_by_the_next_run(lakehouse: LakehousePlatform) -> None:
    killed_at = []
    for step in range(20):
        lakehouse.publish_many(10, "comment")
        lakehouse.publish(lakehouse.make("comment", at=lakehouse.now - timedelta(days=1)))
        lakehouse.aggregate()
        kill = KillAt(step)
        try:
            with watched_steps(kill):
                write_windows(lakehouse.sources.iceberg, "comment")
        except Killed:
            killed_at.append(kill.name)
        else:
            break
    assert set(killed_at) == {"tables loaded", "windows found", "days written", "files written", "committed"}
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_windows_catch_up_when_several_aggregations_ran_without_them(lakehouse: LakehousePlatform) -> None:
    for _ in range(3):
        lakehouse.publish_many(25)
        lakehouse.aggregate()
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_of_two_runs_at_once_one_commits_and_the_other_is_told_to_start_over(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(200)
    lakehouse.aggregate()
    lakehouse.publish_many(100)
    barrier = threading.Barrier(2, timeout=30)

    def meet(step: str) -> None:
        if step == "files written":
            barrier.wait()

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(lakehouse.aggregate, meet) for _ in range(2)]
        errors = [run.exception() for run in runs]
    assert sorted(error is None for error in errors) == [False, True]
    assert any(isinstance(error, TransientError) for error in errors)
    assert lakehouse.run().records == 0
    lakehouse.assert_exact()


def test_two_first_runs_at_once_create_the_tables_once(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(50)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(lakehouse.aggregate) for _ in range(2)]
        errors = [run.exception() for run in runs]
    assert all(error is None or isinstance(error, TransientError) for error in errors), errors
    assert None in errors
    lakehouse.run()
    lakehouse.assert_exact()


def test_two_window_runs_at_once_count_nothing_twice(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(200)
    lakehouse.aggregate()
    barrier = threading.Barrier(2, timeout=30)

    def meet(step: str) -> None:
        if step == "files written":
            barrier.wait()

    def run() -> None:
        with watched_steps(meet):
            write_windows(lakehouse.sources.iceberg, "view")

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run) for _ in range(2)]
        errors = [run.exception() for run in runs]
    assert sorted(error is None for error in errors) == [False, True]
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_a_run_goes_on_top_of_a_merge_that_came_between(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(20)
    lakehouse.aggregate()
    lakehouse.publish_many(20)

    def change_properties(step: str) -> None:
        if step == "files written":
            with lakehouse.catalog() as catalog:
                table = catalog.load_table(EVENTS)
                own = own_properties(summary_of(table.current_snapshot()))
                with table.transaction() as transaction, transaction.update_snapshot(own).fast_append():
                    pass

    assert lakehouse.aggregate(change_properties).records == 20
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_copies_of_an_event_in_one_run_and_across_runs_count_once(lakehouse: LakehousePlatform) -> None:
    event = lakehouse.make("flag", at=lakehouse.now - timedelta(hours=3))
    other = lakehouse.make("flag", event["image_id"], at=lakehouse.now - timedelta(hours=3))
    lakehouse.publish(event, event)
    lakehouse.run()
    lakehouse.assert_exact()
    lakehouse.publish(event, other)
    lakehouse.run()
    lakehouse.assert_exact()
    lakehouse.publish(other)
    lakehouse.run()
    assert lakehouse.records["flag"] == 5
    lakehouse.assert_exact()


def test_late_events_find_their_window(lakehouse: LakehousePlatform) -> None:
    image = lakehouse.make("view")["image_id"]
    start = (lakehouse.now - timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    edges = [start, start + timedelta(minutes=5, microseconds=-1), start + timedelta(minutes=5)]
    lakehouse.publish(*(lakehouse.make("view", image, at) for at in edges))
    lakehouse.run()
    lakehouse.assert_exact()
    late = [*edges, start + timedelta(minutes=7), start - timedelta(days=390)]
    lakehouse.publish(*(lakehouse.make("view", image, at) for at in late))
    lakehouse.run()
    lakehouse.assert_exact()


def test_untouched_windows_of_a_rewritten_day_keep_their_rows(lakehouse: LakehousePlatform) -> None:
    day = (lakehouse.now - timedelta(days=3)).replace(hour=0, minute=0, second=0, microsecond=0)
    lakehouse.publish(*(lakehouse.make("view", at=day + timedelta(minutes=5 * number)) for number in range(50)))
    lakehouse.run()
    lakehouse.publish(lakehouse.make("view", at=day + timedelta(minutes=61)))
    assert lakehouse.aggregate().records == 1
    (views, *_) = lakehouse.write_windows()
    assert (views.windows, views.rows) == (1, 2)
    lakehouse.assert_exact()


def test_added_partitions_are_read_from_their_beginning(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(20)
    lakehouse.run()
    topics = [lakehouse.topic("view"), lakehouse.topic("comment")]
    kafka: KafkaSettings = lakehouse.sources.kafka
    ensure_topics(kafka, topics, partitions=6)
    # One that knows the new partitions.
    lakehouse.producer = create_producer(kafka, "lakehouse-test")
    lakehouse.publish(*(lakehouse.make("view") for _ in range(60)))
    result = lakehouse.run()
    assert set(result.offsets[topics[0]]) == set(range(6))
    assert result.offsets[topics[0]][4] > 0 or result.offsets[topics[0]][5] > 0
    lakehouse.assert_exact()


def test_only_one_kind_of_event_so_far_leaves_the_other_tables_empty(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(10, "comment")
    lakehouse.run()
    lakehouse.assert_exact()
    snapshots = lakehouse.snapshot_ids()
    assert snapshots["event_aggregations.view_windows_5min"] is None
    lakehouse.publish_many(10, "view")
    lakehouse.run()
    lakehouse.assert_exact()


def test_empty_topics_give_empty_tables_and_a_checkpoint(lakehouse: LakehousePlatform) -> None:
    result = lakehouse.run()
    assert result.records == 0
    assert set(lakehouse.snapshot_ids()) == {
        EVENTS, *(f"event_aggregations.{kind}_windows_5min" for kind in WINDOWED_KINDS)
    }  # fmt: skip
    lakehouse.assert_exact()
