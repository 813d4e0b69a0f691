"""How a benchmark tells its figures.

What a benchmark wants of a figure, and whether it got it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.common import report
from bench.common.measure import Measured


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        model = next(names, model)
    return {"cpus": os.cpu_count(), "model": model, "python": platform.python_version()}


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output; the first column is text, the others are numbers."""
    table = Table(title=title, box=SIMPLE, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)


def result(name: str, figures: dict[str, object]) -> None:
    """The last line of every benchmark."""
    line = json.dumps({"benchmark": name, "machine": machine(), **figures}, separators=(",", ":"))
    print(f"RESULT {line}", flush=True)


def figures(measured: Measured) -> dict[str, object]:
    """All that was measured, and rows per second."""
    return {
        **asdict(measured),
        "seconds": round(measured.seconds, 2),
        "rows_per_second": round(measured.rows_per_second),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One wanted figure of the table in the README."""

    name: str
    value: float
    unit: str
    """"x" is a ratio of two measurements of the same run; else "s", "MB", "KB", ..."""
    wanted: float
    at: Literal["least", "most"]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From what `told` gave; whether it is met is worked out anew."""
        return cls(**{name: value for name, value in told.items() if name != "met"})

    @property
    def met(self) -> bool:
        """Whether the value is on the right side."""
        return self.value >= self.wanted if self.at == "least" else self.value <= self.wanted

    def told(self) -> dict[str, object]:
        """For the RESULT line."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "wanted": self.wanted,
            "at": self.at,
            "met": self.met,
        }


def show_targets(targets: Sequence[Target]) -> None:
    """A table of them on standard output."""
    report.show("Targets", ("", "measured", "wanted", "met"), list(map(_row, targets)))


def _row(target: Target) -> tuple[str, str, str, str]:
    wanted = f"at {target.at} {target.wanted:g} {target.unit}"
    return target.name, f"{target.value:g} {target.unit}", wanted, "yes" if target.met else "NO"
