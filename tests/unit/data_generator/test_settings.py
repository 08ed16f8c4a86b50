"""The generator's variables: the contract's defaults, and a sentence for what is not allowed."""

from pathlib import Path
from uuid import UUID

import pytest

from data_generator.settings import GeneratorSettings
from gourmetgram.errors import SettingsError


def test_defaults_are_those_of_the_contract() -> None:
    settings = GeneratorSettings.load({})
    assert settings.model_dump() == {
        "health_host": "0.0.0.0",
        "health_port": 9103,
        "generator_mode": "poisson",
        "generator_api_url": "http://localhost:8000",
        "generator_dataset_path": Path("/data/Food-11"),
        "generator_arrival_rate": 150.0,
        "generator_initial_users": 0,
        "generator_initial_images": 0,
        "generator_request_timeout": 30.0,
        "generator_log_level": "INFO",
        "generator_tos_version": 3,
        "generator_test_account_rate": 0.02,
        "generator_target_image_id": None,
        "generator_burst_views": 110,
        "generator_burst_comments": 8,
        "generator_burst_flags": 2,
        "generator_backfill_days": 7,
        "generator_backfill_images": 2000,
        "generator_backfill_events": 200_000,
        "generator_backfill_seed": 42,
        "generator_backfill_truth_path": Path("ground-truth.csv"),
    }


def test_an_empty_target_is_no_target() -> None:
    assert GeneratorSettings.load({"GENERATOR_TARGET_IMAGE_ID": ""}).generator_target_image_id is None
    image_id = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
    assert GeneratorSettings.load({"GENERATOR_TARGET_IMAGE_ID": image_id}).generator_target_image_id == UUID(image_id)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GENERATOR_MODE", "chaos"),
        ("GENERATOR_API_URL", "localhost:8000"),
        ("GENERATOR_API_URL", "http://localhost:99999"),
        ("GENERATOR_API_URL", "http://localhost:http"),
        ("GENERATOR_ARRIVAL_RATE", "0"),
        ("GENERATOR_ARRIVAL_RATE", "nan"),
        ("GENERATOR_ARRIVAL_RATE", "inf"),
        ("GENERATOR_INITIAL_USERS", "-1"),
        ("GENERATOR_REQUEST_TIMEOUT", "0"),
        ("GENERATOR_LOG_LEVEL", "LOUD"),
        ("GENERATOR_TARGET_IMAGE_ID", "the best one"),
        ("GENERATOR_BURST_VIEWS", "many"),
        ("GENERATOR_TEST_ACCOUNT_RATE", "1.5"),
        ("GENERATOR_TOS_VERSION", "0"),
        ("HEALTH_PORT", "70000"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        GeneratorSettings.load({variable: value})


def test_a_history_needs_an_event_for_each_upload() -> None:
    variables = {"GENERATOR_BACKFILL_IMAGES": "10", "GENERATOR_BACKFILL_EVENTS": "9"}
    assert GeneratorSettings.load(variables).generator_mode == "poisson"
    with pytest.raises(SettingsError, match="GENERATOR_BACKFILL_EVENTS must be at least GENERATOR_BACKFILL_IMAGES"):
        GeneratorSettings.load({**variables, "GENERATOR_MODE": "backfill"})
