"""`python -m tests.analysis --tasks 10000`: so many images are analyzed while processes are killed."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from pathlib import Path

from tests.analysis.run import AnalysisConfig, run_analysis
from tests.conftest import open_directory


def main() -> int:
    """Return 1 if something was lost or stored wrongly; with --unfenced, 1 if no stale result was stored."""
    options = _parser().parse_args()
    config = AnalysisConfig(tasks=options.tasks, fenced=not options.unfenced)
    with open_directory("analysis") as directory:
        try:
            report = asyncio.run(run_analysis(directory, config, seed=options.seed))
        finally:
            if options.keep:
                ignored = shutil.ignore_patterns("data")
                shutil.copytree(directory, options.keep, ignore=ignored, dirs_exist_ok=True)
    for violation in report.violations:
        print(f"VIOLATION {violation}" if report.fenced else f"FOUND {violation}")
    print("\n".join(report.lines()))
    if not report.fenced:
        found = f"stored {report.stale_stored} stale results" if report.passed else "stored NO stale result"
        print(f"control: without the fence the service has {found}")
    print(f"RESULT {report.as_json()}")
    return int(not report.passed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.analysis", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="images that are analyzed, about")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    parser.add_argument(
        "--unfenced", action="store_true", help="negative control: without the fence, stale results must be found"
    )
    parser.add_argument("--keep", type=Path, help="directory to copy the logs to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
