"""Comparison of served features with training rows, feature by feature."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pyiceberg.catalog import Catalog
from sqlalchemy import Engine

from gourmetgram.drift.bins import COMPARED, FeatureBins, Histograms, compared_columns
from gourmetgram.drift.reference import ModelInUse, bins_of, open_reference, training_batches
from gourmetgram.drift.served import POINT_OF_TRIGGER, ServedDecisions, TimeWindow, served_decisions
from gourmetgram.drift.stability import (
    CHANGED_FROM,
    DRIFTED_ABOVE,
    MIN_IMAGES,
    harmonic_number,
    stability_terms,
)
from gourmetgram.moments import utc_text

CALENDAR_FEATURES: Final = ("hour_of_day", "day_of_week", "is_weekend")
"""Features that tell the window's place in the week: they differ in every window of a day, and decide nothing."""


class BinShare(NamedTuple):
    """A bin, the shares of both sides in it (0 to 1), and its term of the index."""

    label: str
    training: float
    served: float
    term: float


class FeatureDrift(NamedTuple):
    """Drift of one feature.

    Attributes:
        name: name of the feature.
        psi: population stability index.
        bins: bins that at least one side uses.
    """

    name: str
    psi: float
    bins: list[BinShare]

    @property
    def decides(self) -> bool:
        """False for features of the calendar."""
        return self.name not in CALENDAR_FEATURES

    @property
    def verdict(self) -> str:
        """`stable`, `changed` or `drifted` by the limits; `calendar` for features that decide nothing."""
        if not self.decides:
            return "calendar"
        if self.psi > DRIFTED_ABOVE:
            return "drifted"
        return "changed" if self.psi >= CHANGED_FROM else "stable"


class DriftReport(NamedTuple):
    """Result of a comparison.

    Attributes:
        window: window of the decisions.
        made_at: moment of the comparison, UTC.
        model_version: version of the model in use; None without one.
        snapshot_id: snapshot of the training rows; None when they were not read.
        served: compared decisions by decision point, in minutes after the upload.
        training: training rows at the same decision points.
        left_out: decisions that are not comparable, by trigger.
        features: one entry for each of `COMPARED`; empty when there are too few rows.
        missing: reason for which `features` is empty.
        notices: sentences for people about the snapshot and the rows.
    """

    window: TimeWindow
    made_at: datetime
    model_version: int | None
    snapshot_id: int | None
    served: dict[int, int]
    training: dict[int, int]
    left_out: dict[str, int]
    features: list[FeatureDrift]
    missing: str
    notices: list[str]

    @property
    def served_rows(self) -> int:
        """Number of compared decisions."""
        return sum(self.served.values())

    @property
    def training_rows(self) -> int:
        """Number of training rows."""
        return sum(self.training.values())

    @property
    def psi(self) -> dict[str, float]:
        """Population stability index by feature."""
        return {feature.name: feature.psi for feature in self.features}

    @property
    def ranked(self) -> list[FeatureDrift]:
        """Features with the largest index first; those of the calendar last."""
        return sorted(self.features, key=lambda feature: (not feature.decides, -feature.psi))

    @property
    def largest(self) -> FeatureDrift | None:
        """The feature with the largest index among those that decide; None when there are too few rows."""
        return self.ranked[0] if self.features else None

    @property
    def drifted(self) -> list[str]:
        """Names of the drifted features, the largest index first."""
        return [feature.name for feature in self.ranked if feature.verdict == "drifted"]

    @property
    def summary(self) -> str:
        """The decision in one sentence."""
        if self.largest is None:
            return self.missing
        most = f"{self.largest.name} has the largest index, {self.largest.psi:.3f}"
        if not self.drifted:
            return f"No feature drifted: {most} (limit {DRIFTED_ABOVE})."
        names = "1 feature" if len(self.drifted) == 1 else f"{len(self.drifted)} features"
        return f"{names} drifted: {most} (limit {DRIFTED_ABOVE})."

    def document(self) -> dict[str, Any]:
        """The report as one JSON document."""
        return {
            "since": utc_text(self.window.since),
            "until": utc_text(self.window.until),
            "model_version": self.model_version,
            "snapshot_id": None if self.snapshot_id is None else str(self.snapshot_id),
            "served_rows": self.served_rows,
            "training_rows": self.training_rows,
            "served_by_minutes": self.served,
            "training_by_minutes": self.training,
            "left_out": self.left_out,
            "psi": self.psi,
            "psi_max": None if self.largest is None else self.largest.psi,
            "largest": None if self.largest is None else self.largest.name,
            "drifted": self.drifted,
            "missing": self.missing or None,
            "notices": self.notices,
        }


def compare_features(engine: Engine, catalog: Catalog, model: ModelInUse | None, window: TimeWindow) -> DriftReport:
    """Compare the features of a window's decisions with the rows that the model was trained on.

    Args:
        engine: the application database, with the decisions.
        catalog: the Iceberg catalog, with the training rows.
        model: the model in use; None = compare with the newest snapshot.
        window: window of the decisions.

    Raises:
        UnusableDataError: the training table does not exist, has no row, or lacks values.
        TransientError: a store is away.
    """
    with served_decisions(engine, window) as decisions:
        by_trigger = decisions.by_trigger()
        served = {POINT_OF_TRIGGER[name]: rows for name, rows in by_trigger.items() if name in POINT_OF_TRIGGER}
        left_out = {name: rows for name, rows in by_trigger.items() if name not in POINT_OF_TRIGGER}
        empty = DriftReport(
            window, datetime.now(UTC), model and model.version, None, served, {}, left_out, [], "", _bias(left_out)
        )
        if not served:
            return empty._replace(missing=_too_few(window, 0))
        return _compared(decisions, catalog, model, empty)


def _compared(
    decisions: ServedDecisions, catalog: Catalog, model: ModelInUse | None, report: DriftReport
) -> DriftReport:
    reference = open_reference(catalog, model)
    notices = [*([reference.notice] if reference.notice else []), *report.notices]
    report = report._replace(snapshot_id=reference.table.snapshot_id, notices=notices)
    bins = bins_of(reference.table, report.served)
    training, served = Histograms(bins), Histograms(bins)
    for points, rows in training_batches(reference.table):
        for minutes in report.served:
            training.add(minutes, rows[points == minutes])
    # Without training rows at a decision point, its decisions have nothing to be compared with.
    for batch in decisions.batches():
        if batch.minutes in training.rows:
            served.add(batch.minutes, compared_columns(batch.matrix))
    report = report._replace(served=dict(sorted(served.rows.items())), training=dict(sorted(training.rows.items())))
    if not served.rows:
        return report._replace(missing=_too_few(report.window, 0))
    images = training.images(served.rows), served.images(served.rows)
    if harmonic_number(*images) < MIN_IMAGES:
        return report._replace(missing=_too_few(report.window, *map(round, reversed(images))))
    return report._replace(features=list(_features(bins, training, served)))


def _features(bins: list[FeatureBins], training: Histograms, served: Histograms) -> Iterator[FeatureDrift]:
    for number, (name, each) in enumerate(zip(COMPARED, bins, strict=True)):
        # The same mix of decision points on both sides.
        expected, found = training.mixed(number, served.rows), served.mixed(number, served.rows)
        terms = stability_terms(expected, found)
        shares = zip(each.labels, expected / expected.sum(), found / found.sum(), terms, strict=True)
        used = [BinShare(label, *map(float, numbers)) for label, *numbers in shares if numbers[0] or numbers[1]]
        yield FeatureDrift(name, float(terms.sum()), used)


def _bias(left_out: Mapping[str, int]) -> list[str]:
    if not left_out:
        return []
    rows = ", ".join(f"{number:,} {trigger}" for trigger, number in left_out.items())
    return [
        f"Left out as not comparable: {rows}. Such decisions are made because the counts are high; training rows are "
        "made at fixed times after the upload."
    ]


def _too_few(window: TimeWindow, images: int, training_images: int | None = None) -> str:
    beside = "" if training_images is None else f" beside {training_images:,} training images"
    return (
        f"Too few rows for a comparison: {images:,} images were scored at a fixed time after the upload in "
        f"{window.hours:g} hours{beside}. Run the stream consumer with TRIGGER_ON_UPLOAD=true or "
        "RESCORE_AT_MINUTES=5,30; wait for more uploads, or choose a longer window with --hours."
    )
