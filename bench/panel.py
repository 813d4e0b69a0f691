"""A panel of the chart: bars that share one axis, which begins at zero.

Knows the standard library only, as the chart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bench.outcome import Outcome, is_figure

Kind = Literal["ours", "peer", "limit"]


class Undrawable(Exception):
    """A result has not what the chart shows of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One figure."""

    label: str
    value: float
    kind: Kind = "ours"

    def __post_init__(self) -> None:
        if not is_figure(self.value):
            raise Undrawable(f"{self.label} is {self.value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Bars to be compared with each other."""

    heading: str
    """Empty for the only group of a panel."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Groups on one axis."""

    title: str
    unit: str
    """Of all its bars, as it stands below the axis."""
    better: Literal["more", "less"]
    groups: tuple[Group, ...]

    @property
    def rows(self) -> int:
        """Lines that it takes: a bar or a heading each."""
        return sum(bool(group.heading) + len(group.bars) for group in self.groups)


def figure_of(outcome: Outcome, *path: str | int) -> Any:
    """What stands there in the result."""
    found: Any = outcome.figures
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            way = " / ".join(map(str, path))
            raise Undrawable(f"the result of {outcome.benchmark} has no {way}, which the chart shows") from None
    return found
