"""The ratios that the small runs are held against: bench/smoke_recorded.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from bench.outcome import Outcome, Untold, is_figure

FILE = Path(__file__).parent / "smoke_recorded.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """Ratios by benchmark, and where they come from."""

    ratios: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path = FILE) -> Self:
        """Empty where nothing was recorded. Raises Untold for a ratio that nothing could fall below."""
        if not file.exists():
            return cls()
        told = json.loads(file.read_text(encoding="utf-8"))
        for benchmark, ratios in told["ratios"].items():
            _check(benchmark, ratios)
        return cls(**told)

    def write(self, file: Path = FILE) -> None:
        """The file that `read` reads."""
        told = {"ratios": self.ratios, "provenance": self.provenance}
        file.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def with_runs(self, runs: Sequence[Outcome], provenance: Mapping[str, object]) -> Recorded:
        """With the medians of several runs of one benchmark in place of what was recorded of it."""
        benchmark = runs[0].benchmark
        names = set(runs[0].ratios)
        if any(set(run.ratios) != names for run in runs):
            raise Untold(f"{benchmark} did not tell the same ratios in every run")
        ratios = {name: round(median(run.ratios[name] for run in runs), 3) for name in sorted(names)}
        _check(benchmark, ratios)
        return Recorded(
            ratios={**self.ratios, benchmark: ratios},
            provenance={**self.provenance, benchmark: provenance},
        )


def _check(benchmark: str, ratios: Mapping[str, float]) -> None:
    if not ratios:
        raise Untold(f"{benchmark} has no ratios")
    for name, value in ratios.items():
        if not is_figure(value):
            raise Untold(f"the ratio {name} of {benchmark} is {value}: nothing could fall below half of it")
