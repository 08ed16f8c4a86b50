"""The address that the local Kafka names to its clients: its own, or the one that the stack's programs are given."""

from pathlib import Path

import pytest

from gourmetgram_tools.local.progress import LogProgress
from gourmetgram_tools.local.stack import Stack


@pytest.mark.parametrize(("override", "advertised"), [(None, "localhost:{port}"), ("127.0.0.1:5000", "127.0.0.1:5000")])
def test_the_broker_names_the_address_that_clients_are_given(
    tmp_path: Path, override: str | None, advertised: str
) -> None:
    stack = Stack("mine", tmp_path)
    if override:
        stack.override("KAFKA_BOOTSTRAP_SERVERS", override)
    (stack.folder / "kafka" / "data").mkdir(parents=True)  # its storage is formatted
    with LogProgress().step("Kafka") as report:
        stack._component("kafka").prepare(report)
    wanted = advertised.format(port=stack.ports.kafka)
    assert f"advertised.listeners=CLIENT://{wanted}," in (stack.folder / "kafka" / "server.properties").read_text()
    assert stack.environment()["KAFKA_BOOTSTRAP_SERVERS"] == wanted
