"""The dashboard, the alerts and the documentation name metrics that exist, and each alert has a runbook."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.monitoring.deployed_files import (
    DASHBOARD,
    ROOT,
    Alert,
    alerts,
    dashboard_panels,
    metrics_in,
    panel_queries,
)
from tests.monitoring.exported_metrics import exported_metrics

METRICS_PAGE = (ROOT / "docs" / "operations" / "metrics.md").read_text()
ALERTS_PAGE = (ROOT / "docs" / "operations" / "alerts.md").read_text()
BFF = (ROOT / "docs" / "bff.md").read_text()
METRICS = exported_metrics()
SERIES = frozenset().union(*(metric.series for metric in METRICS.values()))
NO_METRICS = frozenset[str]()
"""Names in the documents that have the form of a metric: columns and messages."""
BOUNDED_LABELS = {
    "analyzer": "of at most 50 analyzers; workers are services of the operator",
    "grpc_method": "methods of the contracts",
    "grpc_status": "codes of gRPC",
    "host_class": "shop or service",
    "limit": "kinds of limits",
    "loop": "background loops",
    "mode": "of syncs",
    "outcome": "closed sets",
    "platform": "platforms of the connector",
    "pool": "pools of connections",
    "product_rejected": "true or false",
    "reason": "closed lists of the contracts",
    "result": "of refreshes",
    "resumed": "true or false",
    "route": "of the BFF, not paths",
    "state": "of syncs and tasks",
    "status": "of HTTP",
    "strategy": "read strategies of the connector",
    "stream": "kinds of streams",
    "use": "of certificates",
}


def section(text: str, title: str) -> str:
    """Return the section of a document, with its subsections."""
    found = re.search(rf"^{title}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[0]


def documented() -> dict[str, frozenset[str]]:
    """Return the metrics in the first columns of the tables, with their labels."""
    found: dict[str, frozenset[str]] = {}
    for line in (METRICS_PAGE + section(BFF, "## Settings")).splitlines():
        cells = line.split(" | ")
        for name, labels in (
            re.findall(r"`([a-z0-9_]+)(?:\{([a-z_,]*)\})?`", cells[0]) if line.startswith("|") else ()
        ):
            found[name] = frozenset(labels.split(",")) - {""}
    return found


def test_the_documentation_lists_every_metric_with_its_labels_and_no_other_one() -> None:
    assert documented() == {metric.name: metric.labels for metric in METRICS.values()}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_a_page_names_no_metric_that_does_not_exist(page: Path) -> None:
    """A metric is a name in code with a suffix of metrics, or within an expression of PromQL."""
    named = {
        name
        for name in re.findall(r"\b(?:catalog|connector|bff|grpc)_[a-z0-9_]+", page.read_text())
        if re.search(r"_(total|seconds|bytes|count|bucket)$", name) or f"{name}{{" in page.read_text()
    }
    assert named - SERIES - METRICS.keys() - NO_METRICS == set()


def test_labels_have_bounded_sets_of_values() -> None:
    used = frozenset[str]().union(*(metric.labels for metric in METRICS.values()))
    assert used == BOUNDED_LABELS.keys()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_every_metric_of_an_alert_exists(alert: Alert) -> None:
    assert metrics_in(alert.expression) <= SERIES
    assert metrics_in(alert.expression) or alert.expression.startswith("up{")


def test_every_metric_of_the_dashboard_exists() -> None:
    unknown = {(title, name) for title, query in panel_queries() for name in metrics_in(query) - SERIES}
    assert unknown == set()
    assert {title for title, query in panel_queries() if not metrics_in(query)} == {"Targets that answer"}


def test_every_alert_has_a_runbook_that_says_what_to_look_at_and_to_do_and_no_runbook_lacks_its_alert() -> None:
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", ALERTS_PAGE, re.MULTILINE | re.DOTALL))
    assert list(parts) == [alert.name for alert in alerts()]
    for alert in alerts():
        assert alert.runbook == f"docs/operations/alerts.md#{alert.name.lower()}"
        headings = re.findall(r"^\*(\w[\w ]+):\*", parts[alert.name], re.MULTILINE)
        assert headings == ["Meaning", "Look at", "Do"], alert.name


def test_the_dashboard_follows_the_schema_of_grafana_and_its_panels_do_not_overlap() -> None:
    raw = json.loads(DASHBOARD.read_text())
    parsed = Dashboard.from_json(raw)
    assert parsed.title == "catalogsync"
    assert raw["schemaVersion"] >= 36
    ids = [panel["id"] for panel in raw["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard_panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    for one, other in combinations((panel["gridPos"] for panel in raw["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
