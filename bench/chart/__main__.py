"""`.venv-bench/bin/python -m bench.chart`: draws docs/benchmarks.svg from bench/results.

The same results give the same bytes. With `--check` nothing is drawn, and the exit code says whether the file is
what the results give. Knows only the standard library and matplotlib.
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
from bench.common.results import RESULTS, kept_outcomes

CHART = Path(__file__).parents[1] / "docs" / "benchmarks.svg"
_STYLE = {
    # Without a salt of its own the names of clip paths differ from run to run.
    "svg.hashsalt": "catalogsync",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.linewidth": 0.6,
}
_CARD, _INK, _FAINT, _LINE = "#ffffff", "#1f2328", "#59636e", "#d1d9e0"
"""A light card of its own, which reads the same on GitHub's light and dark pages."""
_COVER = {"facecolor": _CARD, "edgecolor": "none", "pad": 1}
_COLOURS = {"ours": "#0969da", "peer": "#9aa4af", "limit": "#bf8700"}
_NAMES = {"ours": "catalogsync", "peer": "others", "limit": "limit: raw COPY into the same tables"}

# Inches.
_WIDTH, _COLUMNS, _MARGIN = 11.0, 2, 0.25
_LABELS, _ROW, _HEAD, _FOOT = 1.55, 0.235, 0.3, 0.6
_LEGEND = 0.3
_PANEL = (_WIDTH - _MARGIN) / _COLUMNS
_AXES = _PANEL - _LABELS - _MARGIN
_EDGE = -_LABELS / _AXES
"""The left edge of a panel, in widths of its axes."""


def drawn(panels: Sequence[Panel]) -> bytes:
    """The SVG."""
    with mpl.rc_context(_STYLE):
        return _svg(figure_of(panels))


def figure_of(panels: Sequence[Panel]) -> Figure:
    """Panels in columns, each where there is most room."""
    columns = _columns(panels)
    height = max(sum(map(_height, column)) for column in columns) + _MARGIN + _LEGEND
    figure = Figure(figsize=(_WIDTH, height))
    _draw_card(figure)
    _draw_legend(figure, {bar.kind for panel in panels for group in panel.groups for bar in group.bars})
    for number, column in enumerate(columns):
        top = height - _MARGIN - _LEGEND
        for panel in column:
            _draw(panel, _axes(figure, panel, number, top))
            top -= _height(panel)
    return figure


def _columns(panels: Sequence[Panel]) -> list[list[Panel]]:
    columns: list[list[Panel]] = [[] for _ in range(_COLUMNS)]
    for panel in panels:
        min(columns, key=lambda column: sum(map(_height, column))).append(panel)
    return columns


def _height(panel: Panel) -> float:
    return _HEAD + panel.rows * _ROW + _FOOT


def _axes(figure: Figure, panel: Panel, column: int, top: float) -> Axes:
    left = _MARGIN + column * _PANEL + _LABELS
    bottom = top - _HEAD - panel.rows * _ROW
    total = figure.get_figheight()
    return figure.add_axes((left / _WIDTH, bottom / total, _AXES / _WIDTH, panel.rows * _ROW / total))


def _draw(panel: Panel, axes: Axes) -> None:
    longest = max(bar.value for group in panel.groups for bar in group.bars)
    axes.set_xlim(0, longest * 1.2)
    axes.set_ylim(panel.rows - 0.5, -0.5)
    row = 0
    for group in panel.groups:
        if group.heading:
            _write(axes, _EDGE, row, group.heading, ha="left", fontweight="bold", fontsize=8.5, bbox=_COVER)
            row += 1
        for bar in group.bars:
            _draw_bar(bar, axes, row, longest)
            row += 1
    # None beyond the longest bar, where their labels would leave the card.
    axes.set_xticks([tick for tick in MaxNLocator(5).tick_values(0, longest) if tick <= longest])
    _dress(panel, axes)


def _draw_bar(bar: Bar, axes: Axes, row: int, longest: float) -> None:
    axes.barh(row, bar.value, height=0.72, color=_COLOURS[bar.kind])
    _write(axes, -0.02, row, bar.label, ha="right")
    axes.text(bar.value + longest * 0.015, row, _amount(bar.value), va="center", color=_INK)


def _write(axes: Axes, x: float, row: int, text: str, **style: Any) -> None:
    """Beside the bars; `x` in widths of the axes."""
    axes.text(x, row, text, transform=axes.get_yaxis_transform(), va="center", color=_INK, **style)


def _dress(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title, loc="left", x=_EDGE, color=_INK, fontweight="bold", fontsize=10.5)
    axes.set_xlabel(f"{panel.unit} ({panel.better} is better)", color=_FAINT)
    axes.xaxis.set_major_formatter(lambda value, _: _amount(value))
    axes.tick_params(axis="x", colors=_FAINT, length=0)
    axes.set_yticks([])
    axes.grid(axis="x", color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(_FAINT)


def _draw_card(figure: Figure) -> None:
    figure.patch.set_visible(False)
    width, height = figure.get_size_inches()
    figure.patches.append(
        FancyBboxPatch(
            (0.02, 0.02),
            width - 0.04,
            height - 0.04,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=_CARD,
            edgecolor=_LINE,
            linewidth=1,
            zorder=-1,
            transform=figure.dpi_scale_trans,
        )
    )


def _draw_legend(figure: Figure, kinds: set[str]) -> None:
    shown = [kind for kind in _COLOURS if kind in kinds]
    handles = [Patch(color=_COLOURS[kind], label=_NAMES[kind]) for kind in shown]
    top = 1 - _MARGIN / 2 / figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_MARGIN / _WIDTH / 2, top),
        ncols=len(shown),
        frameon=False,
        labelcolor=_INK,
        handlelength=1,
        handleheight=1,
    )


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.3g}"


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib leaves blanks at the ends of some lines.
    lines = file.getvalue().decode().splitlines()
    return "\n".join([*(line.rstrip() for line in lines), ""]).encode()


def _checked(file: Path, chart: bytes | None) -> int:
    if (file.read_bytes() if file.exists() else None) == chart:
        return 0
    print(f"{file.name} is not what the results give: run make bench-chart", file=sys.stderr)
    return 1


def main() -> int:
    """Exit code 1 only for a stale chart."""
    parser = argparse.ArgumentParser(prog="python -m bench.chart", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("--chart", type=Path, default=CHART, metavar="FILE")
    asked = parser.parse_args()
    panels = panels_of(kept_outcomes(asked.results))
    chart = drawn(panels) if panels else None
    if asked.check:
        return _checked(asked.chart, chart)
    if chart is None:
        asked.chart.unlink(missing_ok=True)
    else:
        asked.chart.write_bytes(chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
