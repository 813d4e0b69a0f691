"""The examples and the client in the README run as documented."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.e2e.conftest import ROOT, System, clean_environment


async def run(address: str, *command: str | Path, cwd: Path = ROOT) -> tuple[int, str]:
    """Run an example and return its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**clean_environment(), "CATALOG_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


FOLLOW = ROOT / "examples/python-client/follow.py"


async def test_the_python_example_watches_a_sync_until_it_ends(system: System) -> None:
    code, out = await run(system.catalog_address, sys.executable, FOLLOW, "woocommerce:new.example")
    assert code == 0, out
    states = [line for line in out.splitlines() if not line.startswith("note: ")]
    assert states[-1].startswith("STATE_SUCCEEDED")


async def test_the_client_in_the_readme_watches_a_sync(system: System) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert "127.0.0.1:50051" in code
    status, out = await run(
        system.catalog_address, sys.executable, "-c", code.replace("127.0.0.1:50051", system.catalog_address)
    )
    assert status == 0, out
    state, items = out.splitlines()[-1].split()[:2]
    assert state == "STATE_SUCCEEDED"
    assert int(items) > 0


async def test_the_python_example_prints_why_a_sync_failed(system: System) -> None:
    code, out = await run(system.catalog_address, sys.executable, FOLLOW, "woocommerce:missing.example")
    assert code == 1
    assert "no such shop" in out


async def test_the_python_example_watches_the_sync_that_is_already_running(system: System) -> None:
    running = await system.start("woocommerce", "silent.example")
    _, out = await run(system.catalog_address, sys.executable, FOLLOW, "woocommerce:silent.example")
    assert "STATE_FAILED" in out
    shop = {"platform": "woocommerce", "domain": "silent.example"}
    newest = await system.catalog.ListSyncs(pb.ListSyncsRequest(shop=pb.ShopRef(**shop), page_size=1))
    assert newest.syncs[0].sync_id == running.sync_id
