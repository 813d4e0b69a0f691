"""Whether a ratio has stayed what it was.

The ratios that the small runs are held against: bench/smoke_recorded.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from bench.common.results import Outcome, Untold, is_figure

SHARE = 0.5
"""Of its recorded value a ratio must keep. Less would be blind, more would find what a busy machine does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """On one ratio."""

    benchmark: str
    ratio: str
    recorded: float | None
    """None: it is new."""
    measured: float | None
    """None: it has vanished."""

    @property
    def passed(self) -> bool:
        """A new ratio passes, since there is nothing to hold it against; NaN does not."""
        if self.recorded is None:
            return True
        return self.measured is not None and self.measured >= SHARE * self.recorded

    @property
    def sentence(self) -> str:
        """What was found, and what to do about it."""
        name = f"{self.benchmark}: {self.ratio}"
        if self.measured is None:
            return f"{name} is recorded and was not measured: bring it back, or {_RECORD}"
        if self.recorded is None:
            return f"{name} is new ({self.measured:.3g}) and not held against anything yet: {_RECORD}"
        compared = f"{name} is {self.measured:.3g}, recorded {self.recorded:.3g}"
        if self.passed:
            return compared
        return (
            f"{compared}, and below {SHARE:g} of that: something has become slower. `make bench-{self.benchmark}` "
            f"shows its parts; if it was meant, {_RECORD}"
        )


_RECORD = "record anew on an idle machine with `python -m bench.smoke --record`"


def judged(benchmark: str, *, measured: Mapping[str, float], recorded: Mapping[str, float]) -> list[Verdict]:
    """One verdict for each ratio that was measured or recorded."""
    return [
        Verdict(benchmark=benchmark, ratio=ratio, recorded=recorded.get(ratio), measured=measured.get(ratio))
        for ratio in {**recorded, **measured}
    ]


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
