"""Losses: what a server that was set back has lost, so that no other difference is allowed."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, text

from gourmetgram.kafka.partitions import Partition
from tests.chaos.nemesis.checker import StoredRows, read_rows
from tests.chaos.nemesis.history import Kind

_TOUCHED: Final = """
SELECT id::text, id::text FROM images UNION ALL
SELECT id::text, image_id::text FROM comments UNION ALL
SELECT id::text, image_id::text FROM flags UNION ALL
SELECT inference_request_id::text, target_id::text FROM moderation WHERE inference_request_id IS NOT NULL
UNION ALL
SELECT format('milestone %s of image %s is missing', milestone_value, image_id), image_id::text FROM image_milestones
"""
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RECORDS: Final = re.compile(r"^([\w.]+)/(\d+)@(\d+)(?: to @(\d+))?")

ORDERED_CHECKS: Final = frozenset({"requests", "contexts", "alerts", "milestones"})
"""Checks of the audit that follow the order of an image's events in the log."""
ROW_CHECKS: Final = frozenset(
    {"uploads", "comments", "flags", "views", "known images", "pictures", "iceberg rows", "decisions"}
)
"""Checks of the audit that need the rows of PostgreSQL."""


@dataclass(frozen=True)
class Contents:
    """Contents of the database.

    Attributes:
        rows: the clients' rows.
        touched: image of each row, decision and milestone, by the id of the row or of the decided request; a milestone
            has the sentence of the audit that misses it.
    """

    rows: StoredRows
    touched: dict[str, str]


def read_contents(engine: Engine) -> Contents:
    """Contents of the database now."""
    with engine.connect() as connection:
        touched = {str(row_id): str(image_id) for row_id, image_id in connection.execute(text(_TOUCHED))}
    return Contents(read_rows(engine), touched)


@dataclass
class Losses:
    """Everything that was lost so far, and the differences that follow from it.

    Attributes:
        rows: lost rows by kind and text.
        views: lost views by image.
        ids: ids of lost rows, of requests whose decision was lost, and of the images of both; sentences about lost
            milestones, which the consumer writes only once.
        reordered: images with events from before a cut of the log.
        moved: images with events from before the way out of a cut: the lake has some under other offsets than the log.
        gaps: end of the accepted gap of a partition.
        files: data files of the lake at a restore of its catalog, none of which may be removed by the older catalog.
    """

    rows: dict[Kind, dict[str, list[str]]] = field(default_factory=dict)
    views: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    reordered: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    gaps: dict[Partition, int] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def note_restore(self, before: Contents, after: Contents) -> None:
        """Note what a restore of PostgreSQL has taken.

        Args:
            before: contents right before it, when no client could write any more.
            after: contents right after it, before any client could write.
        """
        for kind, keys in before.rows.ids.items():
            for key, row_ids in keys.items():
                gone = [each for each in row_ids if each not in after.rows.ids[kind].get(key, ())]
                if gone:
                    self.rows.setdefault(kind, {}).setdefault(key, []).extend(gone)
        for image_id, views in before.rows.views.items():
            fewer = views - after.rows.views.get(image_id, 0)
            if fewer:
                self.views[image_id] += fewer
                self.ids.add(image_id)
        for row_id in before.touched.keys() - after.touched.keys():
            self.ids.update((row_id, before.touched[row_id]))

    def note_cut(self, images: Iterable[str]) -> None:
        """Note the images that existed when the log was cut."""
        self.reordered.update(images)

    def note_replay(self, images: Iterable[str]) -> None:
        """Note the images that existed when lost events were published again."""
        self.moved.update(images)

    def note_gap(self, partition: Partition, end: int) -> None:
        """Note the first offset behind a gap that the lake has accepted."""
        self.gaps[partition] = max(end, self.gaps.get(partition, 0))

    def with_lost(self, stored: StoredRows) -> StoredRows:
        """Stored rows and lost ones: each answer is about one of them. A lost row that is back is there twice."""
        ids = {kind: {key: list(row_ids) for key, row_ids in keys.items()} for kind, keys in stored.ids.items()}
        for kind, keys in self.rows.items():
            for key, row_ids in keys.items():
                ids.setdefault(kind, {}).setdefault(key, []).extend(row_ids)
        return StoredRows(ids, Counter(stored.views) + self.views)

    def explains(self, check: str, sentence: str) -> bool:
        """True when a difference of the audit follows from a loss.

        Args:
            check: name of the audit's check.
            sentence: one difference.
        """
        named = set(_UUID.findall(sentence))
        if check in ROW_CHECKS:
            return bool(named & self.ids)
        if check in ORDERED_CHECKS:
            return bool(named & self.reordered) or sentence in self.ids
        if check == "iceberg events" and (found := _RECORDS.match(sentence)):
            topic, number, first, last = found.groups()
            return int(last or first) < self.gaps.get(Partition(topic, int(number)), 0)
        return False
