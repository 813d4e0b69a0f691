"""`python -m tests.chaos --minutes 3`: breaks the system for so long and tells what was wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import time
from pathlib import Path

from tests.chaos.run import Report, chaos
from tests.conftest import open_directory

_SHOWN = 40


def main() -> int:
    """1 when something was wrong; with --unfenced, 1 when nothing was."""
    asked = _parser().parse_args()
    # Connectors that are killed in the middle of a request are our own doing.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    with open_directory("chaos") as place:
        try:
            report = asyncio.run(
                chaos(place, seconds=asked.minutes * 60, seed=asked.seed, fenced=not asked.unfenced)
            )
        finally:
            if asked.keep:
                shutil.copytree(place, asked.keep, ignore=shutil.ignore_patterns("data"), dirs_exist_ok=True)
    if asked.keep:
        (asked.keep / "violations.txt").write_text("\n".join(report.violations))
    _tell(report)
    return int(bool(report.violations) is not asked.unfenced)


def _tell(report: Report) -> None:
    for violation in report.violations[:_SHOWN]:
        print(f"VIOLATION {violation}")
    if len(report.violations) > _SHOWN:
        print(f"... and {len(report.violations) - _SHOWN} more")
    for note in report.notes:
        print(f"NOTE {note}")
    print(report.line())
    print(f"RESULT {report.as_json()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same faults in the same order")
    parser.add_argument(
        "--unfenced", action="store_true", help="negative control: the fence is off, and must be missed"
    )
    parser.add_argument("--keep", type=Path, help="copy the logs there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
