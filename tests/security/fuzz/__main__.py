"""`python -m tests.security.fuzz --requests 10000`: fuzzes every method of a pair and prints violations."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from pathlib import Path

from tests.conftest import open_directory
from tests.security.fuzz.oracle import memory_mb
from tests.security.fuzz.run import Report, fuzz
from tests.security.target import running_target, sync_shops

_PROGRESS_CALLS = 5_000


def main() -> int:
    """Return 1 if there were violations."""
    options = _parser().parse_args()
    print(f"SEED={options.seed}", flush=True)
    with open_directory("fuzz") as directory:
        report, seconds = asyncio.run(_run(directory, options))
    _print_report(report, seconds)
    return int(bool(report.violations))


async def _run(directory: Path, options: argparse.Namespace) -> tuple[Report, float]:
    async with running_target(directory) as target:
        shops = await sync_shops(target)
        started = time.perf_counter()

        def progress(report: Report) -> None:
            calls = report.sent.total()
            if calls % _PROGRESS_CALLS == 0:
                memory = ", ".join(f"{name} {value:.0f} MB" for name, value in memory_mb(target.pids).items())
                speed = calls / (time.perf_counter() - started)
                print(f"{calls} calls, {speed:.0f}/s, {len(report.violations)} violations, {memory}", flush=True)

        report = await fuzz(
            target,
            shops,
            seed=options.seed,
            requests=options.requests,
            only=options.method,
            first=options.first,
            progress=progress,
        )
        return report, time.perf_counter() - started


def _print_report(report: Report, seconds: float) -> None:
    for violation in report.violations:
        print(f"VIOLATION {violation}")
    calls = report.sent.total()
    print(f"{calls} calls of {len(report.sent)} methods in {seconds:.0f} s: {calls / seconds:.0f}/s")
    print(f"at least {min(report.sent.values(), default=0)} calls of each; not sent: {report.refused_by_client}")
    for reason, count in report.outcomes.most_common():
        print(f"  {count:8} {reason or 'OK'}")
    for name in report.memory[0]:
        values = " -> ".join(f"{one.get(name, 0):.0f}" for one in report.memory)
        print(f"{name}: {values} MB resident at the start, after two thirds and at the end")
    print(f"{len(report.violations)} violations; to repeat the requests: SEED={report.seed}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="requests of each method")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="makes the same requests again")
    parser.add_argument("--method", default="", help="the only method: GetItem")
    parser.add_argument("--first", type=int, default=0, help="number of the first request of each method")
    return parser


if __name__ == "__main__":
    sys.exit(main())
