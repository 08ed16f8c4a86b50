"""Vocabulary of the windows: names fit together, and the defaults are those of the contract."""

import pytest

from gourmetgram.errors import SettingsError
from gourmetgram.windows import (
    COUNTED_KINDS,
    COUNTED_WINDOWS,
    TriggerSettings,
    WindowTrigger,
    anchor_minutes,
    anchor_trigger,
)


def test_the_name_of_a_count_is_its_kind_and_its_window() -> None:
    for name, counted in COUNTED_WINDOWS.items():
        assert name == f"{COUNTED_KINDS[counted.kind]}_{counted.window}"


def test_the_defaults_of_the_triggers_are_those_of_the_contract() -> None:
    assert TriggerSettings.load({}).window_triggers() == (
        WindowTrigger("viral", "views_5min", 100, sends_request=True),
        WindowTrigger("suspicious", "comments_1min", 10, sends_request=True),
        WindowTrigger("flagged", "flags_5min", 2, sends_request=True),
        WindowTrigger("popular", "views_1hr", 50, sends_request=False),
    )


def test_each_trigger_takes_its_own_threshold() -> None:
    settings = TriggerSettings.load(
        {
            "VIRAL_THRESHOLD_VIEWS_5MIN": "1",
            "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "2",
            "FLAGGED_THRESHOLD_FLAGS_5MIN": "3",
            "POPULAR_THRESHOLD_VIEWS_1HR": "4",
        }
    )
    assert [trigger.threshold for trigger in settings.window_triggers()] == [1, 2, 3, 4]


@pytest.mark.parametrize("minutes", ["0", "1441", "5,soon"])
def test_an_anchor_outside_the_first_day_is_refused(minutes: str) -> None:
    with pytest.raises(SettingsError, match="RESCORE_AT_MINUTES"):
        TriggerSettings.load({"RESCORE_AT_MINUTES": minutes})


def test_an_anchor_names_its_minutes() -> None:
    assert anchor_minutes(anchor_trigger(30)) == 30


@pytest.mark.parametrize("trigger", ["viral", "anchor_", "anchor_x", "anchor_-1", "30"])
def test_other_triggers_are_no_anchors(trigger: str) -> None:
    assert anchor_minutes(trigger) is None
