"""How a benchmark tells its figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.measure import Measured


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
