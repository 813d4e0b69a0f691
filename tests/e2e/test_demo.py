"""`make demo ONCE=1` is complete or says so by its exit code, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import open_directory
from tests.e2e.conftest import ROOT, clean_environment


async def demo(place: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "demo",
        "--once",
        "--directory",
        str(place),
        cwd=ROOT,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def processes() -> list[str]:
    """The command line of every process of this machine."""
    process = await asyncio.create_subprocess_exec("ps", "-eo", "args", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().splitlines()


@pytest.mark.timeout(240)
async def test_the_demo_syncs_both_shops_completely_and_again_without_a_change() -> None:
    with open_directory("demo") as place:
        code, out = await demo(place)
        assert code == 0, out
        created = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) created", out)]
        assert sum(created) >= 5_000
        code, out = await demo(place)
        assert code == 0, out
        assert set(re.findall(r"SUCCEEDED.*?([\d,]+) created", out)) == {"0"}
        assert [line for line in await processes() if str(place) in line] == []
