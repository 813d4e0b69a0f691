"""Each alert fires because of a real fault, and resolves when it is repaired; no panel of the dashboard is empty.

The alerts are the deployed ones with all times divided by `TIME_FACTOR`, and Prometheus is a real one.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from tests.conftest import open_directory
from tests.monitoring.deployed_files import alerts, panel_queries
from tests.monitoring.faults import ALONE, BESIDE
from tests.monitoring.monitored_system import RANGE_SECONDS, MonitoredSystem, monitored_system
from tests.monitoring.prometheus_server import needs_prometheus

pytestmark = [pytest.mark.monitoring, needs_prometheus]


@pytest.mark.timeout(1800)
async def test_each_alert_fires_by_a_fault_and_resolves_and_no_panel_is_empty() -> None:
    with open_directory("monitoring") as directory:
        async with monitored_system(directory) as system:
            began = time.time()
            async with system.browser() as browser, browser.stream("/events"):
                async with asyncio.TaskGroup() as group:
                    for fault in BESIDE:
                        group.create_task(fault(system), name=fault.__name__)
                for fault in ALONE:
                    await fault(system)
            assert system.alerts.fired == {alert.name for alert in alerts()}
            assert system.alerts.runbooks == {alert.name: alert.runbook for alert in alerts()}
            await system.alerts.until_resolved(*system.alerts.fired)
            assert await empty_queries(system, began) == []


async def empty_queries(system: MonitoredSystem, began: float) -> list[tuple[str, str]]:
    """Return the queries of the dashboard that have no value at any time since `began`, with their panels."""
    empty = []
    for title, query in panel_queries():
        expression = query.replace("$__rate_interval", f"{RANGE_SECONDS:g}s")
        series = await system.prometheus.query_range(expression, start=began, end=time.time())
        if not any(has_value(one) for one in series):
            empty.append((title, query))
    return empty


def has_value(series: dict[str, Any]) -> bool:
    """Return whether a series has a sample that is a number."""
    return any(not math.isnan(float(value)) for _, value in series["values"])
