"""How a benchmark reports: tables for people, targets, and one RESULT line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.common.machine import describe_machine
from bench.common.results import RESULT_PREFIX


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A measured value and the limit it should meet: one row of the table in docs/performance.md."""

    name: str
    value: float
    unit: str
    """"x" for a ratio of two measurements of the same run; else "s", "MB", "KB", ..."""
    wanted: float
    """The limit."""
    at: Literal["least", "most"]
    """Whether `wanted` is the smallest or the largest value that meets the target."""

    @classmethod
    def from_json(cls, target: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned; `met` is computed again."""
        return cls(**{name: value for name, value in target.items() if name != "met"})

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.value >= self.wanted if self.at == "least" else self.value <= self.wanted

    def to_json(self) -> dict[str, object]:
        """Return the fields and `met`, for the RESULT line."""
        return {**asdict(self), "met": self.met}


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output; the first column is text, the others are numbers."""
    table = Table(title=title, box=SIMPLE, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)


def print_targets(targets: Sequence[Target]) -> None:
    """Print a table of the targets on standard output."""
    print_table("Targets", ("", "measured", "wanted", "met"), list(map(_row, targets)))


def print_result(benchmark: str, figures: Mapping[str, object]) -> None:
    """Print the RESULT line, which is the last line of every benchmark.

    Args:
        benchmark: Name of the benchmark.
        figures: Must be JSON. Every benchmark has `targets` and `ratios` if its result is recorded.
    """
    result = {"benchmark": benchmark, "machine": describe_machine(), **figures}
    print(RESULT_PREFIX + json.dumps(result, separators=(",", ":")), flush=True)


def _row(target: Target) -> tuple[str, str, str, str]:
    wanted = f"at {target.at} {target.wanted:g} {target.unit}"
    return target.name, f"{target.value:g} {target.unit}", wanted, "yes" if target.met else "NO"
