"""The dashboard and the alerts as they are deployed, and the alerts with all times scaled down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "deploy" / "monitoring"
ALERTS: Final = MONITORING / "prometheus" / "alerts.yml"
CONFIG: Final = MONITORING / "prometheus" / "prometheus.yml"
DASHBOARD: Final = MONITORING / "grafana" / "catalogsync.json"

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ALERT: Final = re.compile(
    r"^      - alert: (\w+)\n(.*?)(?=^      - alert: |^  - name: |\Z)", re.MULTILINE | re.DOTALL
)
_METRIC: Final = re.compile(
    r"(?<![\w.])(?:catalog|connector|bff|grpc_server|tls|event_loop|process)_(?!svc\b)[a-z0-9_]+(?![a-z0-9_.])"
)
_QUOTED: Final = re.compile(r'"[^"]*"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert as the rules declare it."""

    name: str
    expression: str
    runbook: str


def alerts() -> list[Alert]:
    """Return all alerts of the rules."""
    found = []
    for name, body in _ALERT.findall(ALERTS.read_text()):
        expression = re.search(r"expr:(.*?)\n        (?:for|labels):", body, re.DOTALL)
        runbook = re.search(r"runbook_url: (\S+)", body)
        assert expression is not None
        assert runbook is not None, name
        found.append(Alert(name=name, expression=expression[1].strip(), runbook=runbook[1]))
    return found


def dashboard_panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that have queries."""
    dashboard = json.loads(DASHBOARD.read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_queries() -> Iterator[tuple[str, str]]:
    """Yield the title of the panel and the PromQL of each query."""
    for panel in dashboard_panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metrics_in(expression: str) -> set[str]:
    """Return the names of our time series in PromQL."""
    return set(_METRIC.findall(_QUOTED.sub('""', expression)))


def scaled_rules(factor: float, *, shortest_range_seconds: float) -> str:
    """Return the rules with all times divided by `factor`.

    Args:
        factor: 60 makes an hour a minute.
        shortest_range_seconds: of ranges like `[5m]`, which must hold several samples.
    """

    def scaled(match: re.Match[str], *, least: float) -> str:
        seconds = int(match[2]) * _UNITS[match[3]] / factor
        return f"{match[1]}{max(least, seconds) * 1000:.0f}ms"

    rules = ALERTS.read_text()
    rules = re.sub(r"(for: )(\d+)([smhd])\b", lambda match: scaled(match, least=0.5), rules)
    rules = re.sub(r"(\[)(\d+)([smhd])(?=\])", lambda match: scaled(match, least=shortest_range_seconds), rules)
    return re.sub(r"\b(\d+) \* (60|86400)\b", lambda match: f"{int(match[1]) * int(match[2]) / factor:g}", rules)
