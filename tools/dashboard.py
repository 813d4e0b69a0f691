"""The Grafana dashboard as code: `python -m tools.dashboard` writes deploy/monitoring/grafana/catalogsync.json.

With `--check` it only says whether the file is up to date.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

from tools.dashboard_panels import ROWS, Panel, Row

FILE: Final = Path(__file__).parents[1] / "deploy" / "monitoring" / "grafana" / "catalogsync.json"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_PANELS_PER_LINE: Final = 3
_GRID_COLUMNS: Final = 24


def render(rows: Sequence[Row] = ROWS) -> str:
    """Return the dashboard as JSON."""
    builder = (
        dashboard.Dashboard("catalogsync")
        .uid("catalogsync")
        .description(
            "Syncs, queues, platforms, calls and processes of catalogsync. See docs/operations/metrics.md."
        )
        .tags(["catalogsync"])
        .timezone("utc")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    ids = itertools.count(1)
    for row in rows:
        builder.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            builder.with_panel(_panel(panel).id(next(ids)))
    return json.dumps(builder.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .height(8)
        .span(_GRID_COLUMNS // _PANELS_PER_LINE)
        .min(0)
        .fill_opacity(10)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for number, (expression, legend) in enumerate(panel.queries.items()):
        built.with_target(
            prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number)).range()
        )
    return built


def main(arguments: Sequence[str]) -> int:
    """Write the file, or check it; return the exit code."""
    wanted = render()
    if "--check" not in arguments:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(wanted)
        return 0
    if FILE.exists() and FILE.read_text() == wanted:
        return 0
    print(f"{FILE.name} is stale: run make dashboard", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
