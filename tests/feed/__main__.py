"""The experiments of the feeds: `python -m tests.feed gap --changes 100000`, `python -m tests.feed mirror`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path

from tests.conftest import open_directory
from tests.feed.gap import GapConfig, run_gap
from tests.feed.mirror import MirrorConfig, run_mirror

_MAX_PRINTED_VIOLATIONS = 40


def main() -> int:
    """Return 1 if something was lost, or if the control has lost nothing."""
    options = _parser().parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    begin = time.monotonic()
    with open_directory("feed") as directory:
        passed, text, violations, result = asyncio.run(_run(directory, options))
    for violation in violations[:_MAX_PRINTED_VIOLATIONS]:
        print(f"VIOLATION {violation}")
    print(f"{text}; {time.monotonic() - begin:.0f} s")
    print(f"RESULT {result}")
    return int(not passed)


async def _run(directory: Path, options: argparse.Namespace) -> tuple[bool, str, list[str], str]:
    if options.experiment == "gap":
        config = GapConfig(changes=options.changes, processes=options.processes)
        gap = await run_gap(directory, config, seed=options.seed)
        return gap.passed, gap.summary_line(), gap.violations, gap.as_json()
    mirror = await run_mirror(directory, MirrorConfig(kills=options.kills), seed=options.seed)
    found = mirror.differences + mirror.violations
    return mirror.passed, mirror.summary_line(), found, mirror.as_json()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.feed", description=__doc__)
    experiments = parser.add_subparsers(dest="experiment", required=True)
    gap = experiments.add_parser("gap", help="does a follower miss a change?")
    gap.add_argument("--changes", type=int, default=100_000, help="changed items that are committed at least")
    gap.add_argument("--processes", type=int, default=16, help="of the 16 writers")
    mirror = experiments.add_parser("mirror", help="does a consumer that is killed end with the stored items?")
    mirror.add_argument("--kills", type=int, default=100)
    for experiment in (gap, mirror):
        experiment.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    return parser


if __name__ == "__main__":
    sys.exit(main())
