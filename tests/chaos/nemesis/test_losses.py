"""The losses themselves: what a set-back explains, and that it explains nothing else."""

import pyarrow as pa
import pytest

from gourmetgram.kafka.partitions import Partition
from tests.chaos.nemesis.checker import StoredRows, violations
from tests.chaos.nemesis.history import History, Kind, Operation, Outcome
from tests.chaos.nemesis.lake import distinct_events
from tests.chaos.nemesis.losses import Contents, Losses

LOST, KEPT, IMAGE, OTHER = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(4))


def _contents(comments: dict[str, list[str]], views: dict[str, int]) -> Contents:
    ids: dict[Kind, dict[str, list[str]]] = {kind: {} for kind in Kind}
    ids[Kind.COMMENT] = comments
    touched = {row_id: IMAGE for row_ids in comments.values() for row_id in row_ids}
    if views[IMAGE] >= 5:
        touched[f"milestone 5 of image {IMAGE} is missing"] = IMAGE
    return Contents(StoredRows(ids, views), touched)


@pytest.fixture
def losses() -> Losses:
    found = Losses()
    found.note_restore(_contents({"a": [LOST], "b": [KEPT]}, {IMAGE: 5}), _contents({"b": [KEPT]}, {IMAGE: 3}))
    return found


def _history() -> History:
    history = History()
    history.add(Operation(Kind.COMMENT, "a", Outcome.ACKNOWLEDGED, "", LOST))
    history.add(Operation(Kind.COMMENT, "b", Outcome.ACKNOWLEDGED, "", KEPT))
    for _ in range(5):
        history.add(Operation(Kind.VIEW, IMAGE, Outcome.ACKNOWLEDGED, ""))
    return history


@pytest.mark.parametrize(
    ("rows", "views", "agrees"),
    [
        ({"b": [KEPT]}, 3, True),
        ({}, 3, False),  # a row that the restore has not taken
        ({"b": [KEPT]}, 2, False),
        ({"a": [LOST], "b": [KEPT]}, 3, False),  # a lost row that is there again
    ],
)
def test_answers_are_about_stored_or_lost_rows(
    losses: Losses, rows: dict[str, list[str]], views: int, agrees: bool
) -> None:
    stored = _contents(rows, {IMAGE: views}).rows
    assert (violations(_history(), losses.with_lost(stored)) == []) == agrees


@pytest.mark.parametrize(
    ("check", "sentence", "explained"),
    [
        ("comments", f"comment event of comment {LOST}, which has no row", True),
        ("comments", f"comment event of comment {KEPT}, which has no row", False),
        ("views", f"image {IMAGE} has views=3, but 5 view events", True),
        ("views", f"image {OTHER} has views=3, but 5 view events", False),
        ("milestones", f"milestone 5 of image {IMAGE} is missing", True),
        ("milestones", f"milestone 1 of image {IMAGE} is missing", False),
        ("totals", f"image:{IMAGE}:total_views is 3; 5 events", False),
        ("outbox", f"event {LOST} waits in the outbox", False),
    ],
)
def test_a_restore_explains_what_lacks_its_lost_rows(
    losses: Losses, check: str, sentence: str, explained: bool
) -> None:
    assert losses.explains(check, sentence) == explained


@pytest.mark.parametrize(
    ("check", "sentence", "explained"),
    [
        ("contexts", f"request {LOST} of image {IMAGE}: views_5min=1 instead of 2", True),
        ("contexts", f"request {LOST} of image {OTHER}: views_5min=1 instead of 2", False),
        ("totals", f"image:{IMAGE}:total_views is 3; 5 events", False),
        ("iceberg events", "gourmetgram.views/2@7 to @9, 3 records, are in it with another event_id", True),
        ("iceberg events", "gourmetgram.views/2@7 to @10, 4 records, are in it with another event_id", False),
        ("iceberg events", "gourmetgram.views/3@7 is missing in it", False),
    ],
)
def test_a_cut_of_the_log_explains_the_order_of_older_images_and_offsets_in_its_gap(
    check: str, sentence: str, explained: bool
) -> None:
    losses = Losses()
    losses.note_cut([IMAGE])
    losses.note_gap(Partition("gourmetgram.views", 2), 10)
    assert losses.explains(check, sentence) == explained


def test_copies_of_an_event_in_the_lake_are_one_event() -> None:
    rows = pa.table({"image_id": [IMAGE, IMAGE, IMAGE, OTHER], "event_id": ["a", "b", "a", "a"]})
    assert distinct_events(rows) == {IMAGE: 2, OTHER: 1}
