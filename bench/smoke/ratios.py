"""Ratios of the small runs: those recorded in bench/smoke_recorded.json, and the comparison with measured ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from bench.common.results import ROOT, BenchmarkResult, InvalidResult, is_positive_number

RECORDED_FILE = ROOT / "bench" / "smoke_recorded.json"
# Share of its recorded value that a ratio must keep. A lower one would miss regressions, a higher one would report
# what a busy machine does.
MIN_SHARE = 0.5
_RECORD_HINT = "record anew on an idle machine with `python -m bench.smoke --record`"


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioCheck:
    """The comparison of one ratio with its recorded value."""

    benchmark: str
    ratio: str
    recorded: float | None
    """None: a new ratio."""
    measured: float | None
    """None: the ratio is recorded and was not measured."""

    @property
    def passed(self) -> bool:
        """Whether the ratio kept its share. A new ratio passes, since there is nothing to compare; NaN fails."""
        if self.recorded is None:
            return True
        return self.measured is not None and self.measured >= MIN_SHARE * self.recorded

    @property
    def message(self) -> str:
        """The two values, and what to do about a failure."""
        name = f"{self.benchmark}: {self.ratio}"
        if self.measured is None:
            return f"{name} is recorded and was not measured: bring it back, or {_RECORD_HINT}"
        if self.recorded is None:
            return f"{name} is new ({self.measured:.3g}) and not compared with anything yet: {_RECORD_HINT}"
        compared = f"{name} is {self.measured:.3g}, recorded {self.recorded:.3g}"
        if self.passed:
            return compared
        return (
            f"{compared}, and below {MIN_SHARE:g} of that: something has become slower. "
            f"`make bench-{self.benchmark}` shows the details; if that is intended, {_RECORD_HINT}"
        )


def check_ratios(
    benchmark: str, *, measured: Mapping[str, float], recorded: Mapping[str, float]
) -> list[RatioCheck]:
    """Return one check for each ratio that was measured or recorded."""
    return [
        RatioCheck(benchmark=benchmark, ratio=ratio, recorded=recorded.get(ratio), measured=measured.get(ratio))
        for ratio in {**recorded, **measured}
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedRatios:
    """Ratios by benchmark and name, and the provenance of each benchmark's ratios."""

    ratios: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path = RECORDED_FILE) -> Self:
        """Read the file; return no ratios if it does not exist. Raise InvalidResult if a ratio is not positive."""
        if not file.exists():
            return cls()
        recorded = json.loads(file.read_text(encoding="utf-8"))
        for benchmark, ratios in recorded["ratios"].items():
            _validate(benchmark, ratios)
        return cls(**recorded)

    def write(self, file: Path = RECORDED_FILE) -> None:
        """Write the file that `read` reads."""
        recorded = {"ratios": self.ratios, "provenance": self.provenance}
        file.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def with_runs(self, runs: Sequence[BenchmarkResult], provenance: Mapping[str, object]) -> RecordedRatios:
        """Return a copy in which the medians of the runs replace the recorded ratios of their benchmark.

        Args:
            runs: At least one run, all of the same benchmark.
            provenance: Of the runs.

        Raises:
            InvalidResult: The runs have different ratios, or none, or a median is not positive.
        """
        benchmark = runs[0].benchmark
        names = set(runs[0].ratios)
        if any(set(run.ratios) != names for run in runs):
            raise InvalidResult(f"{benchmark} did not have the same ratios in every run")
        ratios = {name: round(median(run.ratios[name] for run in runs), 3) for name in sorted(names)}
        _validate(benchmark, ratios)
        return RecordedRatios(
            ratios={**self.ratios, benchmark: ratios},
            provenance={**self.provenance, benchmark: provenance},
        )


def _validate(benchmark: str, ratios: Mapping[str, float]) -> None:
    if not ratios:
        raise InvalidResult(f"{benchmark} has no ratios")
    for name, value in ratios.items():
        if not is_positive_number(value):
            raise InvalidResult(f"the ratio {name} of {benchmark} is {value}: nothing could fall below half of it")
