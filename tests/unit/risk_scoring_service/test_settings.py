"""Settings of the scorer: the lab's defaults, and wrong ones refused with a sentence."""

import pytest

from gourmetgram.errors import SettingsError
from risk_scoring_service.settings import ScorerSettings


def test_the_defaults_are_the_labs() -> None:
    settings = ScorerSettings.load({})
    assert settings.kafka_consumer_group == "gourmetgram-moderation"
    assert (settings.policy_version, settings.inference_mode) == ("v1", "heuristic")
    assert (settings.model_bucket, settings.model_prefix) == ("gourmetgram-datalake", "models/moderation/")
    assert (settings.model_check_interval, settings.unknown_image_wait) == (30.0, 30.0)
    assert settings.health_port == 9102


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POLICY_VERSION", "v3"),
        ("INFERENCE_MODE", "magic"),
        ("MODEL_CHECK_INTERVAL", "0"),
        ("SCORER_MAX_POLL_RECORDS", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        ScorerSettings.load({variable: value})


@pytest.mark.parametrize("prefix", ["models/x", "models/x/", "/models/x/"])
def test_a_prefix_is_a_folder(prefix: str) -> None:
    assert ScorerSettings.load({"MODEL_PREFIX": prefix}).model_prefix == "models/x/"
