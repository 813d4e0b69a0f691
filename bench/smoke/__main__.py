"""`make bench-smoke`: small runs of the benchmarks, held against recorded ratios.

A ratio compares two measurements of the same run, so it says the same on a slow machine as on a fast one. It fails
below half of its recorded value, and only if a second run finds it there too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.chart.panels import Undrawable, panels_of
from bench.common.results import Outcome, Untold, provenance
from bench.common.runner import BenchmarkBroke, command_of, exit_code_of, told_by
from bench.smoke.ratios import FILE, Recorded, Verdict, judged

BENCHMARKS = ("write", "sync", "shops")
"""Those that CI has time for."""
PATIENCE = 240.0
"""Seconds for one small run, which takes about 30 on an idle machine."""
RECORDED_RUNS = 3
Command = Callable[[str], Sequence[str]]


def small(benchmark: str) -> list[str]:
    """The command that runs a benchmark at its small size."""
    return command_of(benchmark, "--smoke")


class Smoke:
    """Small runs, and what is recorded of them."""

    def __init__(self, recorded: Recorded, command: Command = small) -> None:
        self._recorded = recorded
        self._command = command

    async def complaints(self, benchmarks: Sequence[str]) -> list[str]:
        """Runs and judges each; a sentence for everything that is not as it should be."""
        found = []
        for benchmark in benchmarks:
            try:
                verdicts = await self._verdicts(benchmark)
            except (BenchmarkBroke, Untold, Undrawable) as error:
                found.append(f"{benchmark}: {error}")
                continue
            for verdict in verdicts:
                print(verdict.sentence, flush=True)
            found += [verdict.sentence for verdict in verdicts if not verdict.passed]
        return found

    async def record(self, benchmarks: Sequence[str], file: Path) -> None:
        """Runs each several times and writes the medians into the file, benchmark by benchmark."""
        recorded = self._recorded
        for benchmark in benchmarks:
            origin = provenance()
            runs = [await self._run(benchmark) for _ in range(RECORDED_RUNS)]
            recorded = recorded.with_runs(runs, origin)
            recorded.write(file)

    async def _verdicts(self, benchmark: str) -> list[Verdict]:
        recorded = self._recorded.ratios.get(benchmark)
        if recorded is None:
            raise Untold("nothing is recorded; on an idle machine: python -m bench.smoke --record")
        first = await self._run(benchmark)
        # Small results have the form of large ones: a figure that the chart would miss is missed here already.
        panels_of({benchmark: first})
        measured = first.ratios
        verdicts = judged(benchmark, measured=measured, recorded=recorded)
        fallen = [one.ratio for one in verdicts if not one.passed and one.measured is not None]
        if not fallen:
            return verdicts
        print(f"{benchmark}: measured once more for {', '.join(fallen)}", flush=True)
        again = (await self._run(benchmark)).ratios
        second = {name: again[name] for name in fallen if name in again}
        kept = {name: value for name, value in measured.items() if name not in fallen}
        return judged(benchmark, measured={**kept, **second}, recorded=recorded)

    async def _run(self, benchmark: str) -> Outcome:
        print(f"\n=== {benchmark}, small", flush=True)
        return await told_by(self._command(benchmark), patience=PATIENCE)


async def _check(benchmarks: Sequence[str]) -> int:
    complaints = await Smoke(Recorded.read()).complaints(benchmarks)
    for complaint in complaints:
        print(f"\nFAILED {complaint}", file=sys.stderr)
    return 1 if complaints else 0


async def _record(benchmarks: Sequence[str]) -> int:
    try:
        await Smoke(Recorded.read()).record(benchmarks, FILE)
    except (BenchmarkBroke, Untold) as error:
        print(f"\nnot recorded: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """The exit code: 1 when a ratio fell below half of its recorded value, vanished, or could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.smoke", description=__doc__)
    parser.add_argument("benchmark", nargs="*", help=f"[default: all: {', '.join(BENCHMARKS)}]")
    parser.add_argument(
        "--record", action="store_true", help="write the medians of three runs instead of judging one"
    )
    asked = parser.parse_args()
    unknown = set(asked.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    benchmarks = asked.benchmark or BENCHMARKS
    return exit_code_of(_record(benchmarks) if asked.record else _check(benchmarks))


if __name__ == "__main__":
    sys.exit(main())
