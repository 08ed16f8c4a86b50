"""The alert rules: every metric and label exists, and the page says what to do for each alert."""

import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import api_v1.metrics
import api_v2.metrics
import risk_scoring_service.metrics
import stream_consumer.metrics
from gourmetgram.settings import PROJECT_ROOT

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROJECT_ROOT / "docker" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGE = (PROJECT_ROOT / "docs" / "alerts.md").read_text()
DAG_PLUGIN = (PROJECT_ROOT / "airflow" / "plugins" / "dag_metrics.py").read_text()
MODULES = (api_v1.metrics, api_v2.metrics, risk_scoring_service.metrics, stream_consumer.metrics)


def known_metrics() -> dict[str, set[str]]:
    """Name of each sample of the services, with its labels."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                for family in metric.describe():
                    name = f"{family.name}_total" if family.type == "counter" else family.name
                    found[name] = set(metric._labelnames)
    # Airflow has an environment of its own: its metrics are read from the source.
    for name in re.findall(r'"(gourmetgram_dag_\w+)"', DAG_PLUGIN):
        if name != "gourmetgram_dag_metrics":
            found[name] = {"dag_id"}
    return found


KNOWN = known_metrics()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_metric_and_label_of_an_expression_exists(rule: dict[str, Any]) -> None:
    used = re.findall(r"(gourmetgram_\w+)(?:\{([^}]*)\})?", rule["expr"].replace('job=~"gourmetgram.*"', ""))
    assert used or rule["alert"] == "ServiceDown"
    for name, labels in used:
        assert name in KNOWN, name
        assert set(re.findall(r"(\w+)\s*[=!]", labels)) <= KNOWN[name]
    for opening, closing in ("()", "[]", "{}"):
        assert rule["expr"].count(opening) == rule["expr"].count(closing)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_rule_has_a_severity_and_a_summary(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}


def test_the_page_names_each_alert_once_and_no_other() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize(
    "name",
    [
        "gourmetgram_outbox_oldest_age_seconds",
        "gourmetgram_consumer_oldest_unread_age_seconds",
        "gourmetgram_scorer_oldest_request_age_seconds",
    ],
)
def test_ages_are_on_the_metrics_pages(name: str) -> None:
    assert REGISTRY.get_sample_value(name) is not None
