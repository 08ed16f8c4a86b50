"""The program's arguments, and its end when something is wrong."""

import logging

import pytest

from model_training.lifecycle.train_register_basic_model import main


def test_help_names_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in ("project", "config", "env", "git_sha", "branch"))


def test_an_unknown_environment_ends_it_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        main(["--env", "staging"])
    assert ended.value.code == 1
    assert caplog.messages == ["The environment 'staging' is unknown: give one of prd, acc, dev."]


def test_a_server_that_is_away_ends_it_with_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        main(["--project", "marvel"])
    assert ended.value.code == 1
    (message,) = caplog.messages
    assert message.startswith("MLflow does not answer at http://127.0.0.1:1: start it")
