"""`make bench`: runs the benchmarks, records their results in bench/results, and updates the table and the chart.

Each benchmark runs as a process of its own. A failed one is reported at the end, and the others still run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import readme
from bench.common.report import Target, print_targets
from bench.common.results import (
    BENCHMARKS,
    RESULTS_DIRECTORY,
    ROOT,
    BenchmarkResult,
    provenance,
    recorded_results,
)
from bench.common.runner import BenchmarkProcessFailed, benchmark_command, run_benchmark, run_until_interrupted

BENCH_ENVIRONMENT_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


class ChartNotDrawn(Exception):
    """The chart could not be drawn from the results."""


async def run_all(
    benchmarks: Sequence[str], directory: Path, command: Callable[[str], Sequence[str]] = benchmark_command
) -> dict[str, str]:
    """Run the benchmarks one after the other and record their results in the directory.

    Args:
        benchmarks: Names of benchmarks.
        directory: Directory of the result files.
        command: Returns the command of a benchmark.

    Returns:
        The error of each benchmark that failed, by name.
    """
    failures = {}
    for benchmark in benchmarks:
        print(f"\n=== {benchmark}", flush=True)
        origin = provenance()
        try:
            result = await run_benchmark(command(benchmark))
            _record(result, benchmark, origin, directory)
        except BenchmarkProcessFailed as error:
            failures[benchmark] = str(error)
    return failures


def _record(result: BenchmarkResult, benchmark: str, origin: Mapping[str, object], directory: Path) -> None:
    if result.benchmark != benchmark:
        raise BenchmarkProcessFailed(f"printed the result of {result.benchmark}")
    try:
        text = result.to_json(origin)
    except ValueError as error:
        raise BenchmarkProcessFailed(f"printed a figure that is not a number: {error}") from error
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{benchmark}.json").write_text(text, encoding="utf-8")


async def _draw_chart() -> None:
    """Draw the chart in the environment that has matplotlib."""
    process = await asyncio.create_subprocess_exec(BENCH_ENVIRONMENT_PYTHON, "-m", "bench.chart", cwd=ROOT)
    if await process.wait() != 0:
        raise ChartNotDrawn("the chart was not drawn")


async def _bench(benchmarks: Sequence[str]) -> int:
    failures = await run_all(benchmarks, RESULTS_DIRECTORY)
    results = recorded_results()
    print_targets([Target.from_json(target) for result in results.values() for target in result.targets])
    readme.write(results)
    try:
        await _draw_chart()
    except ChartNotDrawn as error:
        failures["chart"] = str(error)
    for benchmark, error_text in failures.items():
        print(f"\n{benchmark} failed: {error_text}", file=sys.stderr)
    return 1 if failures else 0


def main() -> int:
    """Return the exit code: 1 if a benchmark failed. A missed target is not a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmark", nargs="*", help=f"[default: all: {', '.join(BENCHMARKS)}]")
    args = parser.parse_args()
    unknown = set(args.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return run_until_interrupted(_bench(args.benchmark or BENCHMARKS))


if __name__ == "__main__":
    sys.exit(main())
