"""promtool accepts the deployed files, and the alerts fire and resolve at the times that they declare."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.monitoring.deployed_files import ALERTS, CONFIG, alerts, scaled_rules
from tests.monitoring.prometheus_server import needs_prometheus, promtool

UNIT_TESTS = Path(__file__).with_name("alerts_test.yml")

pytestmark = needs_prometheus


def test_the_configuration_and_the_rules_are_valid() -> None:
    promtool("check", "config", CONFIG)
    assert f"{len(alerts())} rules found" in promtool("check", "rules", ALERTS)


def test_the_rules_stay_valid_with_scaled_times(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(scaled_rules(120, shortest_range_seconds=5))
    assert f"{len(alerts())} rules found" in promtool("check", "rules", rules)


def test_each_alert_is_pending_fires_and_resolves_in_time(tmp_path: Path) -> None:
    text = UNIT_TESTS.read_text()
    tested = {line.removeprefix("  - name: ") for line in text.splitlines() if line.startswith("  - name: ")}
    assert tested == {alert.name for alert in alerts()}
    for file in (ALERTS, UNIT_TESTS):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", tmp_path / UNIT_TESTS.name)
