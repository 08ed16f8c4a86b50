"""Stages 5 and 6 on the student's own traffic alone, without a backfill.

Traffic is ten times as fast as in the lab: some minutes give hundreds of images. Labels still need their time: when the
notebook refuses, the walk waits as long as the notebook says.
"""

import re
import time
from typing import Final

from tests.lab import checkout, stores
from tests.lab.expectations import NotSeenError, expect, until
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage
from tests.lab.walk import stage5, stage6

_RATE: Final = "GENERATOR_ARRIVAL_RATE"
_EVENTS_PER_HOUR: Final = "30000"
_IMAGES: Final = 600
_TRAFFIC_S: Final = 1_200
_LONGEST_WAIT_MINUTES: Final = 30


def _use_rate(lab: Lab, rate: str | None) -> None:
    checkout.write_setting(_RATE, rate)
    lab.do("up -d data_generator")
    lab.wait_healthy(["data_generator"], 120)


def _traffic(lab: Lab) -> str:
    _use_rate(lab, _EVENTS_PER_HOUR)
    before, started = stores.counts(lab), time.monotonic()

    def uploaded() -> str:
        now = stores.counts(lab)
        expect(now["images"] >= before["images"] + _IMAGES, f"images {before['images']} -> {now['images']}")
        minutes = (time.monotonic() - started) / 60
        return f"images {before['images']} -> {now['images']}, flags {now['flags']}, in {minutes:.0f} minutes"

    return until(uploaded, _TRAFFIC_S)


def _train_when_told(lab: Lab) -> str:
    """Run the notebook; after a refusal wait as long as it says, and let moderation_training run again."""
    waited = 0
    while True:
        try:
            return f"{stage6.train(lab)}\nafter {waited} minutes of waiting"
        except NotSeenError as refusal:
            told = re.search(r"moderation_training again (?:in (\d+) minutes?|now)", str(refusal))
            if told is None:
                raise
            waited += int(told.group(1) or 1)
            expect(waited <= _LONGEST_WAIT_MINUTES, f"{waited} minutes of waiting: {refusal}")
        time.sleep(60 * int(told.group(1) or 0))
        stage5.run_dag(lab, stage5.TRAINING)


def _usual_rate(lab: Lab) -> str:
    _use_rate(lab, None)
    return "healthy"


LAKEHOUSE: Final = Stage(
    "5-own",
    "5 Lakehouse, on own traffic",
    stage5.steps(
        LabStep(
            f"{_RATE}={_EVENTS_PER_HOUR} in docker/.env; DC up -d data_generator",
            f"{_IMAGES} more images",
            _traffic,
            needed=True,
        )
    ),
)
MODEL: Final = Stage(
    "6-own",
    "6 Training and deployment, on own traffic",
    (
        *stage6.steps(
            LabStep(
                stage6.NOTEBOOK,
                "snapshot id, label horizon, metrics next to the heuristic's; or how long to wait, and then these",
                _train_when_told,
                needed=True,
            )
        ),
        LabStep(f"docker/.env without {_RATE}; DC up -d data_generator", "traffic as in the lab", _usual_rate),
    ),
)
