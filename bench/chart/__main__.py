"""`.venv-bench/bin/python -m bench.chart`: draws docs/benchmarks.svg from bench/results.

The same results give the same bytes. With `--check` nothing is drawn, and the exit code says whether the file is
up to date. Imports the standard library and matplotlib only.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.ticker import MaxNLocator

from bench.chart.panels import Bar, Panel, panels_of
from bench.common.results import RESULTS_DIRECTORY, ROOT, recorded_results

CHART = ROOT / "docs" / "benchmarks.svg"
_STYLE = {
    # Without a fixed salt the names of clip paths differ from run to run.
    "svg.hashsalt": "catalogsync",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.linewidth": 0.6,
}
# The chart has its own light background, so that it reads the same on GitHub's light and dark pages.
_BACKGROUND, _TEXT, _MUTED, _BORDER = "#ffffff", "#1f2328", "#59636e", "#d1d9e0"
_TEXT_BOX = {"facecolor": _BACKGROUND, "edgecolor": "none", "pad": 1}
_COLOURS = {"ours": "#0969da", "peer": "#9aa4af", "limit": "#bf8700"}
_LEGEND_LABELS = {"ours": "catalogsync", "peer": "others", "limit": "limit: raw COPY into the same tables"}

_COLUMN_COUNT = 2
_WIDTH_INCHES, _MARGIN_INCHES, _LEGEND_INCHES = 11.0, 0.25, 0.3
_LABELS_INCHES = 1.55
_ROW_INCHES, _TITLE_INCHES, _AXIS_LABEL_INCHES = 0.235, 0.3, 0.6
_PANEL_INCHES = (_WIDTH_INCHES - _MARGIN_INCHES) / _COLUMN_COUNT
_AXES_INCHES = _PANEL_INCHES - _LABELS_INCHES - _MARGIN_INCHES
# The left edge of a panel, in widths of its axes.
_LEFT_EDGE = -_LABELS_INCHES / _AXES_INCHES


def render_svg(panels: Sequence[Panel]) -> bytes:
    """Return the chart as SVG."""
    with mpl.rc_context(_STYLE):
        return _to_svg(figure_of(panels))


def figure_of(panels: Sequence[Panel]) -> Figure:
    """Return the figure with the panels in columns; each goes to the column with the most free space."""
    columns = _columns(panels)
    height = max(sum(map(_panel_height, column)) for column in columns) + _MARGIN_INCHES + _LEGEND_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, height))
    _draw_background(figure)
    _draw_legend(figure, {bar.kind for panel in panels for group in panel.groups for bar in group.bars})
    for number, column in enumerate(columns):
        top = height - _MARGIN_INCHES - _LEGEND_INCHES
        for panel in column:
            _draw_panel(panel, _add_axes(figure, panel, number, top))
            top -= _panel_height(panel)
    return figure


def _columns(panels: Sequence[Panel]) -> list[list[Panel]]:
    columns: list[list[Panel]] = [[] for _ in range(_COLUMN_COUNT)]
    for panel in panels:
        min(columns, key=lambda column: sum(map(_panel_height, column))).append(panel)
    return columns


def _panel_height(panel: Panel) -> float:
    return _TITLE_INCHES + panel.rows * _ROW_INCHES + _AXIS_LABEL_INCHES


def _add_axes(figure: Figure, panel: Panel, column: int, top: float) -> Axes:
    left = _MARGIN_INCHES + column * _PANEL_INCHES + _LABELS_INCHES
    bottom = top - _TITLE_INCHES - panel.rows * _ROW_INCHES
    total = figure.get_figheight()
    return figure.add_axes(
        (left / _WIDTH_INCHES, bottom / total, _AXES_INCHES / _WIDTH_INCHES, panel.rows * _ROW_INCHES / total)
    )


def _draw_panel(panel: Panel, axes: Axes) -> None:
    longest = max(bar.value for group in panel.groups for bar in group.bars)
    axes.set_xlim(0, longest * 1.2)
    axes.set_ylim(panel.rows - 0.5, -0.5)
    row = 0
    for group in panel.groups:
        if group.heading:
            _write_text(
                axes, _LEFT_EDGE, row, group.heading, ha="left", fontweight="bold", fontsize=8.5, bbox=_TEXT_BOX
            )
            row += 1
        for bar in group.bars:
            _draw_bar(bar, axes, row, longest)
            row += 1
    # No ticks beyond the longest bar, where their labels would leave the background.
    axes.set_xticks([tick for tick in MaxNLocator(5).tick_values(0, longest) if tick <= longest])
    _style_axes(panel, axes)


def _draw_bar(bar: Bar, axes: Axes, row: int, longest: float) -> None:
    axes.barh(row, bar.value, height=0.72, color=_COLOURS[bar.kind])
    _write_text(axes, -0.02, row, bar.label, ha="right")
    axes.text(bar.value + longest * 0.015, row, _format_number(bar.value), va="center", color=_TEXT)


def _write_text(axes: Axes, x: float, row: int, text: str, **style: Any) -> None:
    """Write a text beside the bars; `x` is in widths of the axes."""
    axes.text(x, row, text, transform=axes.get_yaxis_transform(), va="center", color=_TEXT, **style)


def _style_axes(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title, loc="left", x=_LEFT_EDGE, color=_TEXT, fontweight="bold", fontsize=10.5)
    axes.set_xlabel(f"{panel.unit} ({panel.better} is better)", color=_MUTED)
    axes.xaxis.set_major_formatter(lambda value, _: _format_number(value))
    axes.tick_params(axis="x", colors=_MUTED, length=0)
    axes.set_yticks([])
    axes.grid(axis="x", color=_BORDER, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(_MUTED)


def _draw_background(figure: Figure) -> None:
    figure.patch.set_visible(False)
    width, height = figure.get_size_inches()
    figure.patches.append(
        FancyBboxPatch(
            (0.02, 0.02),
            width - 0.04,
            height - 0.04,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=_BACKGROUND,
            edgecolor=_BORDER,
            linewidth=1,
            zorder=-1,
            transform=figure.dpi_scale_trans,
        )
    )


def _draw_legend(figure: Figure, kinds: set[str]) -> None:
    shown = [kind for kind in _COLOURS if kind in kinds]
    handles = [Patch(color=_COLOURS[kind], label=_LEGEND_LABELS[kind]) for kind in shown]
    top = 1 - _MARGIN_INCHES / 2 / figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_MARGIN_INCHES / _WIDTH_INCHES / 2, top),
        ncols=len(shown),
        frameon=False,
        labelcolor=_TEXT,
        handlelength=1,
        handleheight=1,
    )


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.3g}"


def _to_svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib leaves trailing spaces on some lines.
    lines = file.getvalue().decode().splitlines()
    return "\n".join([*(line.rstrip() for line in lines), ""]).encode()


def _check(file: Path, chart: bytes | None) -> int:
    if (file.read_bytes() if file.exists() else None) == chart:
        return 0
    print(f"{file.name} is stale: run make bench-chart", file=sys.stderr)
    return 1


def main() -> int:
    """Draw the chart, or check it; return 1 only for a stale chart."""
    parser = argparse.ArgumentParser(prog="python -m bench.chart", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only check whether the chart is up to date")
    parser.add_argument("--results", type=Path, default=RESULTS_DIRECTORY, metavar="DIRECTORY")
    parser.add_argument("--chart", type=Path, default=CHART, metavar="FILE")
    args = parser.parse_args()
    panels = panels_of(recorded_results(args.results))
    chart = render_svg(panels) if panels else None
    if args.check:
        return _check(args.chart, chart)
    if chart is None:
        args.chart.unlink(missing_ok=True)
    else:
        args.chart.write_bytes(chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
