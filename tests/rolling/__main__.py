"""`python -m tests.rolling restart`, or `upgrade`: the experiments at full size."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from contextlib import nullcontext
from pathlib import Path

from tests.conftest import open_directory
from tests.rolling.release import PRESENT, last_commit_with_older_schema, newer_release, older_release
from tests.rolling.run import Report, rolling_restart, upgrade_and_back
from tests.rolling.system import RollingConfig

_SHOPS_PER_SYNC = 1.3
"""A shop has no sync for a moment between two of them, while it changes and its client starts the next one."""


def main() -> int:
    """Return 1 if there were violations."""
    options = _parser().parse_args()
    # The devstore would log an error for each request that a connector gives up.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    config = RollingConfig(
        running_syncs=options.syncs,
        shop_count=round(options.syncs * _SHOPS_PER_SYNC),
        products_per_shop=options.products,
        store_latency_seconds=options.latency,
    )
    with nullcontext(options.directory) if options.directory else open_directory("rolling") as directory:
        report = asyncio.run(_run(options, directory, config))
    print(report.as_json())
    return 1 if report.violations else 0


async def _run(options: argparse.Namespace, directory: Path, config: RollingConfig) -> Report:
    if options.experiment == "restart":
        return await rolling_restart(directory, config)
    commit = last_commit_with_older_schema() if options.old == "last" else options.old
    if commit is None:
        old, new = PRESENT, newer_release(directory / "newer")
    else:
        old, new = older_release(directory / "older", commit), PRESENT
    print(f"from {old.name} (schema {old.head}) to {new.name} (schema {new.head}) and back", flush=True)
    return await upgrade_and_back(directory, config, old, new)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rolling", description=__doc__)
    parser.add_argument("experiment", choices=("restart", "upgrade"))
    parser.add_argument("--syncs", type=int, default=100, help="syncs that run whenever a process is replaced")
    parser.add_argument("--products", type=int, default=120, help="of each shop")
    parser.add_argument("--latency", type=float, default=5.0, help="seconds added to each reply of a shop")
    parser.add_argument("--directory", type=Path, help="an empty directory for all files, which are kept")
    parser.add_argument(
        "--old",
        help="upgrade from this commit to this checkout; `last`: the newest one with an older schema. Without it,"
        " upgrade from this checkout to one with further migrations",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
