"""`make bench`: runs the benchmarks, keeps their results in bench/results, shows them in README and chart.

Each runs as a process of its own. One that fails is told at the end, and the others still run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import readme
from bench.common.report import Target, show_targets
from bench.common.results import BENCHMARKS, RESULTS, Outcome, kept_outcomes, provenance
from bench.common.runner import ROOT, BenchmarkBroke, command_of, exit_code_of, told_by

PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


class NotDrawn(Exception):
    """The chart could not be drawn from the results."""


async def run_all(
    benchmarks: Sequence[str], directory: Path, command: Callable[[str], Sequence[str]] = command_of
) -> dict[str, str]:
    """Keeps the results in the directory, and says of each benchmark that failed why."""
    failures = {}
    for benchmark in benchmarks:
        print(f"\n=== {benchmark}", flush=True)
        origin = provenance()
        try:
            outcome = await told_by(command(benchmark))
            _keep(outcome, benchmark, origin, directory)
        except BenchmarkBroke as error:
            failures[benchmark] = str(error)
    return failures


def _keep(outcome: Outcome, benchmark: str, origin: Mapping[str, object], directory: Path) -> None:
    if outcome.benchmark != benchmark:
        raise BenchmarkBroke(f"gave the result of {outcome.benchmark}")
    try:
        text = outcome.kept(origin)
    except ValueError as error:
        raise BenchmarkBroke(f"gave a figure that is no number: {error}") from error
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{benchmark}.json").write_text(text, encoding="utf-8")


async def _draw() -> None:
    """By the peers' environment, which has what it takes."""
    drawing = await asyncio.create_subprocess_exec(PEERS_PYTHON, "-m", "bench.chart", cwd=ROOT)
    if await drawing.wait() != 0:
        raise NotDrawn("the chart was not drawn")


async def _bench(benchmarks: Sequence[str]) -> int:
    failures = await run_all(benchmarks, RESULTS)
    outcomes = kept_outcomes()
    show_targets([Target.read(told) for outcome in outcomes.values() for told in outcome.targets])
    readme.write(outcomes)
    try:
        await _draw()
    except NotDrawn as error:
        failures["chart"] = str(error)
    for benchmark, why in failures.items():
        print(f"\n{benchmark} failed: {why}", file=sys.stderr)
    return 1 if failures else 0


def main() -> int:
    """The exit code: 1 when a benchmark failed. A target that was missed is no failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmark", nargs="*", help=f"[default: all: {', '.join(BENCHMARKS)}]")
    asked = parser.parse_args()
    unknown = set(asked.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return exit_code_of(_bench(asked.benchmark or BENCHMARKS))


if __name__ == "__main__":
    sys.exit(main())
