"""Labels from the student's own traffic: the lab's generator at its default rates, on a clock of its own.

The rows come from the expressions of `moderation_training`, the horizon from the code of training.
"""

import re
from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from ibis import ir
from numpy.typing import NDArray

from gourmetgram.features import offline
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.moments import from_us
from gourmetgram.training.dataset import TrainingTable, UnusableDataError, observations
from gourmetgram.training.horizon import HORIZONS_MINUTES, LONGEST_MINUTES, Observations, Outcomes, outcomes
from gourmetgram.training.survey import HorizonChoice, choose_horizon
from gourmetgram.training_data import rows as training
from gourmetgram.training_data.table import ARROW_SCHEMA
from tests.support.own_traffic import OwnTraffic

MINUTE_US = 60_000_000
# The DAG of the aggregation runs before that of the training data, and a student looks at its tables in between.
AGGREGATED_BEFORE = 2.0
LONGEST_WAIT = 30
COLUMNS = (
    *("image_id", "decision_point_minutes", "label_needs_moderation_24h", "label_observed_until", "anchor_time"),
    "first_flagged_at",
)
NORMAL_99 = 2.576


class Table(TrainingTable):
    """The training rows of a run of the generator, extracted at a moment of its clock."""

    def __init__(self, rows: pa.Table) -> None:
        self.snapshot_id = 1
        self.content = rows

    def batches(self, columns: Sequence[str], _row_filter: object = None) -> Iterator[pa.RecordBatch]:
        yield from self.content.select(list(columns)).to_batches(max_chunksize=500)

    @property
    def observed(self) -> Observations:
        (batch,) = self.content.combine_chunks().to_batches()
        return observations(batch)

    @property
    def extracted_us(self) -> int:
        return int(self.observed.observed_until_us.max())


class Run:
    """The lab's own traffic for some minutes, and the training rows of its images."""

    def __init__(self, engine: Engine, minutes: int, seed: int) -> None:
        self._engine = engine
        self._minutes = minutes
        self._traffic = OwnTraffic(seed)

    def table(self, later: float = 0, traffic: bool = True) -> Table:
        """The rows of the same anchors, extracted so many minutes after the first look; the traffic goes on, or not."""
        go_on = self._traffic.run_until if traffic else self._traffic.rest_until
        go_on(self._minutes + later)
        api = self._traffic.rows
        extracted_us = api.now_us()
        through_us = extracted_us - round((AGGREGATED_BEFORE + later) * MINUTE_US)
        users, images = self._load("users", offline.USERS, api.users), self._load("images", offline.IMAGES, api.images)
        comments = self._load("comments", offline.COMMENTS, api.comments)
        flags = offline.flags_by_image(self._load("flags", offline.FLAGS, api.flags), comments)
        points = training.anchors(images, users, extracted_us, through_us)
        points = self._engine.materialise("points", points.filter(points.reason.isnull()))
        labelled = training.labels(points, flags, extracted_us)
        # Labels need no features.
        rows = labelled.inner_join(points.rename(anchor_time="time_us"), "point_id").select(*COLUMNS)
        schema = pa.schema([ARROW_SCHEMA.field(name) for name in COLUMNS])
        return Table(self._engine.rows(rows.order_by("image_id", "anchor_time")).cast(schema))

    def _load(self, name: str, schema: ibis.Schema, rows: Sequence[dict[str, Any]]) -> ir.Table:
        return self._engine.load(name, schema, pa.Table.from_pylist(list(rows), schema=schema.to_pyarrow()))


@pytest.fixture(scope="module", name="engine")
def engine_fixture() -> Iterator[Engine]:
    with open_engine() as engine:
        yield engine


def choose_when_told(run: Run) -> tuple[Table, HorizonChoice, int]:
    """Choose the horizon; after a refusal wait as long as it says, and let moderation_training run again.

    Returns:
        The rows, the choice, and the minutes waited.
    """
    waited = 0
    while True:
        table = run.table(waited)
        try:
            return table, choose_horizon(table, now=from_us(table.extracted_us)), waited
        except UnusableDataError as refusal:
            told = re.search(r"moderation_training again in (\d+) minutes? ", str(refusal))
            assert told is not None, refusal
            assert "GENERATOR_MODE=backfill" in str(refusal)
            waited += int(told.group(1))
            assert waited <= LONGEST_WAIT


def half_width(share: float, table: Table, usable: NDArray[np.bool_]) -> float:
    """Of the binomial confidence interval at 99 %, in the normal approximation.

    The rows of one image are no independent draws: images are counted.
    """
    images = len(np.unique(table.observed.uploads_us[usable]))
    return NORMAL_99 * sqrt(share * (1 - share) / images)


def share(found: Outcomes) -> float:
    return float(found.labels[found.usable].mean())


def assert_both_classes_on_both_sides(table: Table, choice: HorizonChoice) -> None:
    found, held_out = outcomes(table.observed, choice.minutes), choice.split.is_held_out(table.observed.uploads_us)
    for side in (held_out, ~held_out):
        assert set(found.labels[found.usable & side].tolist()) == {0, 1}


# Of 20 runs of 12 minutes two have to wait, see below; of the longer ones none has.
RUNS = [(12, 1), (12, 2), (20, 1), (20, 2), (45, 1), (240, 1)]


@pytest.mark.parametrize(("minutes", "seed"), RUNS)
def test_labels_from_own_traffic_have_both_classes_and_no_bias(engine: Engine, minutes: int, seed: int) -> None:
    run = Run(engine, minutes, seed)
    table, choice, waited = choose_when_told(run)
    assert waited == 0
    assert_both_classes_on_both_sides(table, choice)
    observed, used = table.observed, outcomes(table.observed, choice.minutes)
    assert used.usable.mean() >= 0.6
    # Time alone decides which rows are used ...
    old_enough = observed.anchors_us <= table.extracted_us - choice.minutes * MINUTE_US
    assert used.usable.tolist() == old_enough.tolist()
    # ... and their labels are those that they have when every row was observed for the horizon.
    later = run.table(later=choice.minutes)
    assert later.content["image_id"].to_pylist() == table.content["image_id"].to_pylist()
    reference = outcomes(later.observed, choice.minutes)
    assert reference.usable.all()
    assert reference.labels[used.usable].tolist() == used.labels[used.usable].tolist()
    # So the share of flagged rows is that of other runs whose rows of the same time were all observed to the end.
    labels = [others_labels(engine, minutes, choice.minutes, other) for other in range(101, 104)]
    expected = float(np.concatenate(labels).mean())
    assert abs(share(used) - expected) <= half_width(expected, table, used.usable)


def others_labels(engine: Engine, minutes: int, horizon: int, seed: int) -> NDArray[np.int64]:
    """Labels of a run's rows with anchors up to `horizon` minutes before its end, looked at long after."""
    other = Run(engine, minutes, seed).table(later=horizon)
    found = outcomes(other.observed, horizon)
    return found.labels[other.observed.anchors_us <= other.extracted_us - 2 * horizon * MINUTE_US]


@pytest.mark.parametrize("minutes", [8, 12])
def test_the_waiting_time_of_a_refusal_leads_to_a_model(engine: Engine, minutes: int) -> None:
    waits = []
    for seed in range(1, 6):
        table, choice, waited = choose_when_told(Run(engine, minutes, seed))
        assert_both_classes_on_both_sides(table, choice)
        waits.append(waited)
    assert max(waits) > 0


def by_the_old_rule(table: Table) -> Outcomes:
    """Positives at once, negatives after 30 minutes: how labels were made before they had a horizon."""
    observed = table.observed
    day = outcomes(observed, LONGEST_MINUTES)
    waited_us = observed.observed_until_us - observed.anchors_us
    return day._replace(usable=(day.labels == 1) | (waited_us >= 30 * MINUTE_US))


@pytest.mark.parametrize(("minutes", "seed"), RUNS)
def test_labels_taken_as_soon_as_they_are_known_are_biased(engine: Engine, minutes: int, seed: int) -> None:
    run = Run(engine, minutes, seed)
    table = run.table()
    old = by_the_old_rule(table)
    if minutes <= 20:
        assert share(old) == 1.0  # nothing to learn: the notebook stopped
        return
    observed = table.observed
    young = old.usable & (observed.observed_until_us - observed.anchors_us < 30 * MINUTE_US)
    assert young.any() and old.labels[young].all()
    # Observed for 30 minutes each, few of the young rows are flagged, and fewer of all.
    reference = outcomes(run.table(later=30).observed, 30)
    not_yet = observed.observed_until_us - observed.anchors_us < 30 * MINUTE_US
    assert reference.labels[not_yet].mean() < 0.25
    expected = share(reference)
    assert share(old) - expected > half_width(expected, table, old.usable)


def row(uploaded: int, minutes: int, until: int, flagged: int | None = None, lost: bool = False) -> Observations:
    """One row; all times in minutes."""
    times = (uploaded, uploaded + minutes, until, flagged if flagged is not None else 10**9)
    return Observations._make([*(np.array([time]) * MINUTE_US for time in times), np.array([lost])])


@pytest.mark.parametrize(
    ("horizon", "until", "flagged", "usable", "label"),
    [
        (15, 20, None, True, 0),
        (15, 19, None, False, 0),
        (15, 19, 10, False, 1),  # a flag is known at once, and yet the row has to wait
        (15, 20, 20, True, 1),
        (15, 30, 21, True, 0),
        (1440, 1439, None, False, 0),
        (1440, 1440, None, True, 0),  # observation ends a day after the upload, not after the decision point
        (1440, 1440, 1440, True, 1),
        (1436, 1440, None, True, 0),
    ],
)
def test_a_row_at_five_minutes_is_used_when_its_horizon_is_over(
    horizon: int, until: int, flagged: int | None, usable: bool, label: int
) -> None:
    found = outcomes(row(0, 5, until, flagged), horizon)
    assert (found.usable.tolist(), found.labels.tolist()) == ([usable], [label])


def test_with_a_whole_day_the_label_is_that_of_the_table(engine: Engine) -> None:
    rows = Run(engine, 20, 1).table(later=LONGEST_MINUTES, traffic=False)
    found = outcomes(rows.observed, LONGEST_MINUTES)
    assert found.usable.all()
    assert found.labels.tolist() == rows.content["label_needs_moderation_24h"].to_pylist()


def test_a_flag_without_a_moment_is_a_label_of_the_whole_day_only() -> None:
    lost = row(0, 30, 1440, lost=True)
    usable = {minutes: bool(outcomes(lost, minutes).usable[0]) for minutes in HORIZONS_MINUTES}
    assert usable == {1440: True, 240: False, 60: False, 30: False, 15: False, 5: False}
    assert outcomes(lost, 1440).labels.tolist() == [1]
