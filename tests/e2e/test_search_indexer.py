"""The example of a search index stays true while it, and the replica that it reads from, are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from tests.e2e.conftest import ROOT, clean_environment
from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.waiting import until, within_timeout

INDEXER = ROOT / "examples/search-indexer/indexer.py"
NAME = f"shopify:{DOMAIN}"


async def start_indexer(system: SmallSystem, file: Path) -> asyncio.subprocess.Process:
    """Start the example with the addresses of both replicas."""
    hosts = ",".join(system.catalog_address(name) for name in ("first", "second"))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        INDEXER,
        "follow",
        NAME,
        file,
        env={**clean_environment(), "CATALOG_ADDRESS": f"ipv4:{hosts}"},
        stdout=asyncio.subprocess.DEVNULL,
    )


def read(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of the index, none while it is being created."""
    with closing(sqlite3.connect(file)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []


async def wait_for_progress(file: Path, before: str) -> None:
    await until(lambda: position(file) != before)


def position(file: Path) -> str:
    rows = read(file, "SELECT position FROM feed")
    return str(rows[0][0]) if rows else ""


async def stored(stub: CatalogServiceStub) -> list[tuple[str, str]]:
    """Return id and price of each item of the catalog."""
    found: list[tuple[str, str]] = []
    token = ""
    while True:
        page = await stub.ListItems(pb.ListItemsRequest(shop=SHOP, page_size=1000, page_token=token))
        found += [(i.item_id, f"{i.price.amount} {i.price.currency_code}".strip()) for i in page.items]
        token = page.next_page_token
        if not token:
            return sorted(found)


async def sync(stub: CatalogServiceStub) -> None:
    started = await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))
    request = pb.WatchSyncRequest(sync_id=started.sync.sync_id)
    last = [message.sync async for message in stub.WatchSync(request)][-1]
    assert last.state == pb.Sync.STATE_SUCCEEDED


async def churn(system: SmallSystem, *, changes_per_second: int) -> None:
    """Let the store change; 0: stop it."""
    url = f"{system.store}/_control/{DOMAIN}/churn"
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        if changes_per_second:
            await session.post(url, json={"changes_per_second": changes_per_second, "seed": 1}, ssl=False)
        else:
            await session.delete(url, ssl=False)


async def test_the_index_equals_the_catalog_after_kills_of_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "index.db"
    async with small_system(products=60, latency_ms=0) as system:
        await system.start_connector("connector")
        for name in ("first", "second"):
            await system.start_catalog(name)
        async with system.stub("second") as stub:
            await sync(stub)
            await churn(system, changes_per_second=200)
            for round_number in range(5):
                before = position(file)
                indexer = await start_indexer(system, file)
                await sync(stub)
                await wait_for_progress(file, before)
                if round_number == 2:
                    os.kill(system.processes.pids["first"], signal.SIGKILL)
                    await sync(stub)
                indexer.kill()
                await within_timeout(indexer.wait())
            await churn(system, changes_per_second=0)
            await sync(stub)
            expected = await stored(stub)
            indexer = await start_indexer(system, file)
            await until(lambda: sorted(read(file, "SELECT item_id, price FROM item")) == expected)
            indexer.kill()
            await within_timeout(indexer.wait())
    ((texts,),) = read(file, "SELECT count(*) FROM item_text")
    assert texts == len(expected)
    process = await asyncio.create_subprocess_exec(
        sys.executable, INDEXER, "search", file, expected_word(file), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await within_timeout(process.communicate())
    assert out.splitlines()


def expected_word(file: Path) -> str:
    """Return the first word of some title."""
    ((title,),) = read(file, "SELECT title FROM item LIMIT 1")
    return str(title).split()[0]
