"""Switches an analyzer of images on for the demo's shops, and runs the worker of examples/analysis-worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from catalogsync.catalog.v1.analysis_pb2 import AnalysisCounts
from catalogsync.catalog.v1.catalog_service_pb2 import ShopUpdate, UpdateShopRequest
from catalogsync_cli.analysis_text import counts_text
from catalogsync_client import CatalogClient
from rich.console import Console

from demo.keys import DemoKeys
from demo.processes import ProcessGroup
from demo.stack import DemoShop, Stack
from demo.workspace import Workspace

ANALYZER: Final = "image-quality"
_WORKER: Final = Path(__file__).parents[1] / "examples" / "analysis-worker" / "worker.py"
_SHOWN_ITEMS: Final = 200
"""How many items the demo waits for; the others are analyzed while it runs."""
_TIMEOUT_SECONDS: Final = 30.0
_POLL_INTERVAL_SECONDS: Final = 0.5


async def start_worker(processes: ProcessGroup, workspace: Workspace, keys: DemoKeys, stack: Stack) -> None:
    """Start the worker, which waits for tasks."""
    settings = {
        "CATALOG_ADDRESS": stack.catalog,
        "CATALOG_SERVICE_SECRET": keys.worker,
        "IMAGE_HOSTS": urlsplit(stack.devstore).netloc,
        "IMAGE_CA_FILE": stack.ca_file,
    }
    await processes.start("analysis_worker", str(_WORKER), f"demo in {workspace.root}", settings=settings)
    workspace.record_processes(processes.pids)


async def analyze_images(catalog: CatalogClient, shops: Sequence[DemoShop], console: Console) -> None:
    """Switch the analyzer on, wait for the first results, and print how many there are."""
    for shop in shops:
        request = UpdateShopRequest(shop=shop.name.for_catalog(), update=ShopUpdate(analyzers=[ANALYZER]))
        request.update_mask.paths.append("analyzers")
        await catalog.update_shop(request)
    counts = await _first_counts(catalog, shops)
    text = f"Image quality: {counts_text(counts)} so far; the page shows the scores"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


async def _first_counts(catalog: CatalogClient, shops: Sequence[DemoShop]) -> AnalysisCounts:
    """Return the counts of all shops once there are enough results, or after the timeout."""
    counts = AnalysisCounts()
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while True:
                counts = await _counts(catalog, shops)
                ended = counts.analyzed_item_count + counts.failed_item_count
                if ended >= _SHOWN_ITEMS or (ended and not counts.pending_item_count):
                    return counts
                await asyncio.sleep(_POLL_INTERVAL_SECONDS)
    except TimeoutError:
        return counts


async def _counts(catalog: CatalogClient, shops: Sequence[DemoShop]) -> AnalysisCounts:
    total = AnalysisCounts()
    for shop in shops:
        counts = (await catalog.get_status(shop.name)).analysis
        total.pending_item_count += counts.pending_item_count
        total.analyzed_item_count += counts.analyzed_item_count
        total.failed_item_count += counts.failed_item_count
    return total
