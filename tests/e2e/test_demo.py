"""`make demo ONCE=1` syncs completely, exits with 0 and leaves no process behind."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import open_directory
from tests.e2e.conftest import ROOT, clean_environment


async def demo(directory: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "demo",
        "--once",
        "--directory",
        str(directory),
        cwd=ROOT,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def processes() -> list[str]:
    """Return the command lines of all processes of this machine."""
    process = await asyncio.create_subprocess_exec("ps", "-eo", "args", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().splitlines()


@pytest.mark.timeout(240)
async def test_the_demo_syncs_both_shops_completely_and_a_second_run_creates_nothing() -> None:
    with open_directory("demo") as directory:
        code, out = await demo(directory)
        assert code == 0, out
        assert re.search(r"^Open http://127\.0\.0\.1:\d+ in a browser", out, re.MULTILINE)
        created = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) created", out)]
        assert sum(created) >= 5_000
        assert int(re.findall(r"^Image quality: ([\d,]+) of", out, re.MULTILINE)[0].replace(",", "")) > 0
        code, out = await demo(directory)
        assert code == 0, out
        assert set(re.findall(r"SUCCEEDED.*?([\d,]+) created", out)) == {"0"}
        assert [line for line in await processes() if str(directory) in line] == []
