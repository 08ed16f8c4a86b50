"""The choice of the label horizon and of the held-out images, from one scan of few columns of the whole table."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas.util import hash_array  # type: ignore[import-untyped]

from gourmetgram.moments import MINUTE_US, from_us
from gourmetgram.training.dataset import HOW_TO_FILL, Looks, TrainingTable, UnusableDataError
from gourmetgram.training.horizon import (
    ENOUGH_OBSERVED,
    HORIZONS_MINUTES,
    LONGEST_MINUTES,
    Integers,
    Outcomes,
    outcomes,
)
from gourmetgram.training.split import HELD_OUT_SHARES, MIN_IMAGES, Split, split_uploads


class _Images(NamedTuple):
    """Distinct images: a hash of each id, its upload time, and a bit per horizon for each of the classes 0 and 1."""

    keys: NDArray[np.uint64]
    uploads_us: Integers
    classes: NDArray[np.uint8]


class Candidate(NamedTuple):
    """A horizon, and its figures in the table.

    Attributes:
        minutes: the horizon.
        rows: all rows of the table.
        observed: rows that were observed for the whole horizon; only they can be used.
        positive: those of them that were flagged within the horizon.
        images: images of the observed rows.
        split: the split of the images; None when there are too few images for two sides.
        both_classes: True if both sides of the split have flagged and unflagged rows.
        wait_minutes: minutes until 60 % of these rows are observed for the horizon; 0 when they are.
    """

    minutes: int
    rows: int
    observed: int
    positive: int
    images: int
    split: Split | None
    both_classes: bool
    wait_minutes: int

    @property
    def enough_observed(self) -> bool:
        """True when at least 60 % of the rows were observed for the horizon."""
        return self.observed >= ENOUGH_OBSERVED * self.rows

    def __str__(self) -> str:
        sides = "both classes on both sides" if self.both_classes else "not both classes on both sides"
        share = f"{self.observed / self.rows:.0%} of {self.rows:,} rows observed"
        return f"{self.minutes} minutes: {share}, {self.positive:,} of them flagged, {sides}"


class HorizonChoice(NamedTuple):
    """The chosen label horizon and split.

    Attributes:
        minutes: the horizon.
        split: training and held-out images.
        given: True if the caller set the horizon.
        candidates: all horizons that were tried, the longest first.
    """

    minutes: int
    split: Split
    given: bool
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate:
        """The candidate of the chosen horizon."""
        return next(found for found in self.candidates if found.minutes == self.minutes)

    @property
    def reason(self) -> str:
        """Reason for this horizon, for people."""
        if self.given:
            return "set by LABEL_HORIZON_MINUTES"
        return "the longest that 60 % of the rows were observed for, with both classes on both sides of the split"


def choose_horizon(table: TrainingTable, given: int | None = None, now: datetime | None = None) -> HorizonChoice:
    """Choose the label horizon, and hold out the latest images. Reads the table once; keeps 18 bytes per image.

    Args:
        table: the rows.
        given: a horizon to use as it is; None = the longest of `HORIZONS_MINUTES` that at least 60 % of the rows were
            observed for, if both classes are on both sides of its split.
        now: current time for the waiting time in the error; None = the machine's clock.

    Raises:
        UnusableDataError: no horizon can be used; the text says how long to wait.
        TransientError: the object store is away.
    """
    survey = _Survey(HORIZONS_MINUTES if given is None else (given,))
    for looks in table.looks():
        survey.add(looks)
    candidates = survey.candidates()
    for found in candidates:
        usable = found.positive not in {0, found.observed} if given else found.enough_observed and found.both_classes
        if found.split is not None and usable:
            return HorizonChoice(found.minutes, found.split, given is not None, candidates)
    raise UnusableDataError(_refusal(table.snapshot_id, candidates, survey.observed_until, now or datetime.now(UTC)))


class _Survey:
    """Counts by horizon, and the classes of each image's rows: one bit per horizon."""

    def __init__(self, horizons: Sequence[int]) -> None:
        self._horizons = horizons
        self._rows = 0
        self._positive = [0] * len(horizons)
        # Number of rows by the minutes until their horizon is observed; the last cell: never.
        self._missing = np.zeros((len(horizons), LONGEST_MINUTES + 2), dtype=np.int64)
        self._images: list[_Images] = []
        self._until_us = 0

    @property
    def observed_until(self) -> datetime:
        """Time through which flags are known."""
        return from_us(self._until_us)

    def add(self, looks: Looks) -> None:
        """Count a batch."""
        observed = looks.observed
        classes = np.zeros((len(observed.anchors_us), 2), dtype=np.uint8)
        for number, minutes in enumerate(self._horizons):
            found = outcomes(observed, minutes)
            self._count(number, found)
            for label in (0, 1):
                classes[found.usable & (found.labels == label), label] |= 1 << number
        self._rows += len(classes)
        self._until_us = max(self._until_us, int(observed.observed_until_us.max(initial=0)))
        # 64 bits instead of 36 characters: two of a million images collide with probability 3 in 100 million.
        keys = hash_array(looks.image_ids.to_numpy(zero_copy_only=False))
        self._images.append(_merged(_Images(keys, observed.uploads_us, classes)))

    def _count(self, number: int, found: Outcomes) -> None:
        missing = np.ceil(np.maximum(found.missing_us, 0) / MINUTE_US).astype(np.int64)
        self._missing[number] += np.bincount(np.minimum(missing, LONGEST_MINUTES + 1), minlength=LONGEST_MINUTES + 2)
        self._positive[number] += int(found.labels[found.usable].sum())

    def candidates(self) -> tuple[Candidate, ...]:
        """One candidate per horizon; empty for a table without rows."""
        if not self._rows:
            return ()
        batches = self._images
        images = _merged(
            _Images(
                np.concatenate([each.keys for each in batches]),
                np.concatenate([each.uploads_us for each in batches]),
                np.concatenate([each.classes for each in batches]),
            )
        )
        order = np.argsort(images.uploads_us, kind="stable")
        uploads, classes = images.uploads_us[order], images.classes[order]
        return tuple(
            self._candidate(number, uploads, (classes >> number & 1).astype(np.bool_))
            for number in range(len(self._horizons))
        )

    def _candidate(self, number: int, uploads: Integers, has_class: NDArray[np.bool_]) -> Candidate:
        split, both = _split(uploads, has_class)
        by_minute = np.cumsum(self._missing[number])
        wait = int(np.searchsorted(by_minute, ceil(ENOUGH_OBSERVED * self._rows)))
        return Candidate(
            minutes=self._horizons[number],
            rows=self._rows,
            observed=int(by_minute[0]),
            positive=self._positive[number],
            images=int(has_class.any(axis=1).sum()),
            split=split,
            both_classes=both,
            wait_minutes=wait,
        )


def _split(uploads: Integers, has_class: NDArray[np.bool_]) -> tuple[Split | None, bool]:
    """The split with the smallest held-out share that puts both classes on both sides; else the usual one.

    Args:
        uploads: upload times of the images, sorted, microseconds since the epoch.
        has_class: shape (images, 2): True for an image with usable rows of class 0, of class 1.

    Returns:
        The split, None when there are too few images; and True if both classes are on both sides.
    """
    used = uploads[has_class.any(axis=1)]
    for share in HELD_OUT_SHARES:
        split = split_uploads(used, share)
        if split is not None:
            held_out = split.is_held_out(uploads)
            if has_class[held_out].any(axis=0).all() and has_class[~held_out].any(axis=0).all():
                return split, True
    return split_uploads(used), False


def _merged(images: _Images) -> _Images:
    """One entry per image, with the classes of all its rows."""
    keys, first, place = np.unique(images.keys, return_index=True, return_inverse=True)
    classes = np.zeros((len(keys), 2), dtype=np.uint8)
    np.bitwise_or.at(classes, place, images.classes)
    return _Images(keys, images.uploads_us[first], classes)


def _refusal(snapshot_id: int, candidates: Sequence[Candidate], observed_until: datetime, now: datetime) -> str:
    """Message for a table without a usable horizon: the reason and the remedy."""
    if not candidates:
        return f"Snapshot {snapshot_id} has no rows. {HOW_TO_FILL}"
    return f"Snapshot {snapshot_id} {_problem(candidates)}. {_advice(candidates, observed_until, now)}"


def _problem(candidates: Sequence[Candidate]) -> str:
    # The longest observed horizon has most flags; if none is observed, the shortest will be the first.
    best = next((found for found in candidates if found.enough_observed), candidates[-1])
    within = f"with a label horizon of {best.minutes} minutes"
    if best.images < MIN_IMAGES:
        return (
            f"has usable rows of {best.images} images {within}; at least {MIN_IMAGES} are needed to train on the "
            "earlier and test on the latest"
        )
    if len(candidates) > 1 and not best.enough_observed:
        return (
            f"is too young: {best.observed} of {best.rows} rows were observed for {best.minutes} minutes, 60 % must be"
        )
    if best.split is None:
        return f"has {best.images} images {within}, uploaded at too few different times to hold out the latest"
    if best.positive in {0, best.observed}:
        only = 1 if best.positive else 0
        return f"has {best.observed} usable rows {within}, all of class {only}: a model needs both classes"
    return f"lacks flagged or unflagged images on one side of the split {within}"


def _advice(candidates: Sequence[Candidate], observed_until: datetime, now: datetime) -> str:
    """Advice for the reader; the waiting time is exact for the rows of the table."""
    waits = [found for found in candidates if 0 < found.wait_minutes <= LONGEST_MINUTES]
    if not waits:
        other = "" if len(candidates) > 1 else "Leave LABEL_HORIZON_MINUTES empty or set another one. "
        return other + HOW_TO_FILL
    nearest = min(waits, key=lambda found: found.wait_minutes)
    at = observed_until + timedelta(minutes=nearest.wait_minutes)
    minutes = ceil((at - now) / timedelta(minutes=1))
    when = f"in {minutes} minute{'' if minutes == 1 else 's'} (at {at:%H:%M} UTC)" if minutes > 0 else "now"
    return (
        f"Trigger the DAG moderation_training again {when}: then 60 % of these rows were observed for "
        f"{nearest.minutes} minutes. To go on at once, backfill the platform (GENERATOR_MODE=backfill), then "
        "trigger redpanda_event_aggregation and moderation_training."
    )
