"""`python -m tests.chaos --minutes 3`: injects random faults for so long and prints the violations."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import time
from pathlib import Path

from tests.chaos.run import Report, run_chaos
from tests.conftest import open_directory

_MAX_PRINTED_VIOLATIONS = 40


def main() -> int:
    """Return 1 if there were violations; with --unfenced, 1 if there were none."""
    options = _parser().parse_args()
    # The devstore would log an error for each request of a connector that is killed.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    with open_directory("chaos") as directory:
        try:
            report = asyncio.run(
                run_chaos(directory, seconds=options.minutes * 60, seed=options.seed, fenced=not options.unfenced)
            )
        finally:
            if options.keep:
                ignored = shutil.ignore_patterns("data")
                shutil.copytree(directory, options.keep, ignore=ignored, dirs_exist_ok=True)
    if options.keep:
        (options.keep / "violations.txt").write_text("\n".join(report.violations))
    _print_report(report)
    return int(bool(report.violations) is not options.unfenced)


def _print_report(report: Report) -> None:
    for violation in report.violations[:_MAX_PRINTED_VIOLATIONS]:
        print(f"VIOLATION {violation}")
    if len(report.violations) > _MAX_PRINTED_VIOLATIONS:
        print(f"... and {len(report.violations) - _MAX_PRINTED_VIOLATIONS} more")
    for note in report.notes:
        print(f"NOTE {note}")
    print(report.summary_line())
    print(f"RESULT {report.as_json()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults are injected")
    parser.add_argument(
        "--seed",
        type=int,
        default=int(time.time()),
        help="the same seed gives the same faults in the same order",
    )
    parser.add_argument(
        "--unfenced", action="store_true", help="negative control: without the fence, violations must be found"
    )
    parser.add_argument("--keep", type=Path, help="directory to copy the logs to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
