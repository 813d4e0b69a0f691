"""`make bench-smoke`: small runs of the benchmarks, whose ratios are compared with recorded ones.

A ratio compares two measurements of the same run, so it is about the same on a slow machine as on a fast one. It
fails below half of its recorded value, and only if it is below that in a second run, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.chart.panels import IncompleteResult, panels_of
from bench.common.results import BenchmarkResult, InvalidResult, provenance
from bench.common.runner import BenchmarkProcessFailed, benchmark_command, run_benchmark, run_until_interrupted
from bench.smoke.ratios import RECORDED_FILE, RatioCheck, RecordedRatios, check_ratios

BENCHMARKS = ("write", "sync", "read", "shops")
"""The benchmarks that are fast enough for CI."""
# One small run takes about 30 s on an idle machine.
TIMEOUT_SECONDS = 240.0
RECORDED_RUNS = 3
Command = Callable[[str], Sequence[str]]


def small_run_command(benchmark: str) -> list[str]:
    """Return the command that runs a benchmark at its small size."""
    return benchmark_command(benchmark, "--smoke")


class Smoke:
    """Small runs and their recorded ratios.

    Args:
        recorded: The ratios to compare with.
        command: Returns the command of a benchmark.
    """

    def __init__(self, recorded: RecordedRatios, command: Command = small_run_command) -> None:
        self._recorded = recorded
        self._command = command

    async def failures(self, benchmarks: Sequence[str]) -> list[str]:
        """Run and check each benchmark; return a message for every failed run and ratio."""
        found = []
        for benchmark in benchmarks:
            try:
                checks = await self._checks(benchmark)
            except (BenchmarkProcessFailed, InvalidResult, IncompleteResult) as error:
                found.append(f"{benchmark}: {error}")
                continue
            for check in checks:
                print(check.message, flush=True)
            found += [check.message for check in checks if not check.passed]
        return found

    async def record(self, benchmarks: Sequence[str], file: Path) -> None:
        """Run each benchmark RECORDED_RUNS times, and write the medians into the file after each benchmark."""
        recorded = self._recorded
        for benchmark in benchmarks:
            origin = provenance()
            runs = [await self._run(benchmark) for _ in range(RECORDED_RUNS)]
            recorded = recorded.with_runs(runs, origin)
            recorded.write(file)

    async def _checks(self, benchmark: str) -> list[RatioCheck]:
        """Run the benchmark, and a second time if a ratio has fallen; the second value of that ratio counts."""
        recorded = self._recorded.ratios.get(benchmark)
        if recorded is None:
            raise InvalidResult("nothing is recorded; on an idle machine: python -m bench.smoke --record")
        first = await self._run(benchmark)
        # Small results have the form of large ones: a figure that the chart would lack is reported here already.
        panels_of({benchmark: first})
        measured = first.ratios
        checks = check_ratios(benchmark, measured=measured, recorded=recorded)
        fallen = [check.ratio for check in checks if not check.passed and check.measured is not None]
        if not fallen:
            return checks
        print(f"{benchmark}: measured once more for {', '.join(fallen)}", flush=True)
        again = (await self._run(benchmark)).ratios
        second = {name: again[name] for name in fallen if name in again}
        kept = {name: value for name, value in measured.items() if name not in fallen}
        return check_ratios(benchmark, measured={**kept, **second}, recorded=recorded)

    async def _run(self, benchmark: str) -> BenchmarkResult:
        print(f"\n=== {benchmark}, small", flush=True)
        return await run_benchmark(self._command(benchmark), timeout_seconds=TIMEOUT_SECONDS)


async def _check(benchmarks: Sequence[str]) -> int:
    failures = await Smoke(RecordedRatios.read()).failures(benchmarks)
    for failure in failures:
        print(f"\nFAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


async def _record(benchmarks: Sequence[str]) -> int:
    try:
        await Smoke(RecordedRatios.read()).record(benchmarks, RECORDED_FILE)
    except (BenchmarkProcessFailed, InvalidResult) as error:
        print(f"\nnot recorded: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Return the exit code: 1 if a ratio fell below half of its recorded value, vanished or was not measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.smoke", description=__doc__)
    parser.add_argument("benchmark", nargs="*", help=f"[default: all: {', '.join(BENCHMARKS)}]")
    parser.add_argument(
        "--record", action="store_true", help="write the medians of three runs instead of checking one"
    )
    args = parser.parse_args()
    unknown = set(args.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    benchmarks = args.benchmark or BENCHMARKS
    return run_until_interrupted(_record(benchmarks) if args.record else _check(benchmarks))


if __name__ == "__main__":
    sys.exit(main())
