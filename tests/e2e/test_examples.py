"""The examples and the client in the README run as documented."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.e2e.conftest import ROOT, System, clean_environment
from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog, timestamp
from tests.waiting import until


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


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node's npm")
async def test_the_node_bff_watches_a_sync_with_the_protos_alone(system: System, tmp_path: Path) -> None:
    """Run in a copy, so that no file is left in the repository."""
    directory = tmp_path / "examples/node-bff"
    shutil.copytree(ROOT / "examples/node-bff", directory, ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    code, out = await run(system.catalog_address, "npm", "ci", "--no-audit", "--no-fund", cwd=directory)
    assert code == 0, out
    code, out = await run(system.catalog_address, "node", "index.js", "shopify:demo.myshopify.com", cwd=directory)
    assert code == 0, out
    assert out.splitlines()[-1].startswith("SUCCEEDED")
    code, out = await run(system.catalog_address, "node", "index.js", "amazon:demo.example", cwd=directory)
    assert code == 2
    assert out.startswith("INVALID_REQUEST: shop.platform: ")
    await check_the_node_bff_with_a_fake(directory)


async def check_the_node_bff_with_a_fake(directory: Path) -> None:
    """Check what the real catalog does only after minutes or in an outage."""
    server = CatalogServer(FakeCatalog())
    await server.start()
    fake = server.fake
    fake.execute = run_an_incremental_sync
    fake.errors["StartSync"] = [FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))]
    fake.reconnects = [
        pb.WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED,
        pb.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
    ]
    code, out = await run(server.address, "node", "index.js", "shopify:demo.myshopify.com", cwd=directory)
    await server.kill()
    await fake.close()
    assert code == 0, out
    methods = [method for method, _, _ in fake.requests]
    assert methods == ["StartSync", "StartSync", "WatchSync", "WatchSync", "WatchSync"]
    assert fake.requests[0][1] == fake.requests[1][1]
    nothing = "nothing changed since 2023-11-14T22:13:20.000Z, 3 products compared  1200 products checked"
    assert out.splitlines()[-1] == f"SUCCEEDED  {nothing}"


async def run_an_incremental_sync(fake: FakeCatalog, sync_id: str) -> None:
    """Run until the third call of WatchSync, and change nothing."""
    await until(lambda: len(fake.requests) == 5)
    progress = pb.Progress(products=pb.RecordCounts(seen_count=3, unchanged_count=3), checked_product_count=1200)
    await fake.change(
        sync_id,
        state=pb.Sync.STATE_SUCCEEDED,
        mode=pb.Sync.MODE_INCREMENTAL,
        progress=progress,
        changes_since_time=timestamp(1_700_000_000),
    )
