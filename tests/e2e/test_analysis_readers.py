"""Analyses of images through the command line and the BFF, with the real services and a real worker."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.analysis_pb2 import ANALYSIS_STATE_PENDING, AnalysisCounts
from catalogsync_client import AnalysisWorker, TaskFailed

from tests.bff_client import BffClient
from tests.e2e.bff_system import SERVICE_SECRET, STRANGER, BffSystem, bff_system
from tests.e2e.conftest import clean_environment
from tests.e2e.small_system import DOMAIN
from tests.e2e.test_bff import sync_to_end
from tests.waiting import until_found

SHOP = f"shopify:{DOMAIN}"
ANALYZER = "image-quality"
COMPONENTS = [{"name": "sharpness", "score": "0.9", "weight": "1", "measured": "44 of 128"}]


@dataclass(kw_only=True)
class ScriptedAnalyzer:
    """Gives each image the same score, and fails for one of them."""

    failing_image_id: str

    async def analyze(self, task: pb.AnalysisTask) -> pb.AnalysisResult:
        """Return the score."""
        if task.image_id == self.failing_image_id:
            raise TaskFailed("IMAGE_NOT_FOUND", "HTTP 404", permanent=True)
        result = pb.AnalysisResult(quality_score="0.87", confidence_score="1", category=task.product_type)
        result.attributes.update({"components": COMPONENTS})
        return result


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[BffSystem]:
    """A system with a synced shop whose images are analyzed: all of them but one, whose task is dead."""
    async with bff_system(products=8) as system:
        async with system.browser() as browser:
            await sync_to_end(browser)
            assert (await browser.get("/status")).data["analysis"] is None
        updated = await catalogsync(system, "shops", "update", SHOP, "--analyzer", ANALYZER)
        assert updated["analyzers"] == [ANALYZER]
        pending = await until_found(lambda: first_pending(system))
        async with running_worker(system, ScriptedAnalyzer(failing_image_id=pending)):
            await until_found(lambda: ended(system))
        yield system


@asynccontextmanager
async def running_worker(system: BffSystem, analyzer: ScriptedAnalyzer) -> AsyncIterator[None]:
    """Analyze within the block."""
    async with system.client() as client:
        worker = AnalysisWorker(client, analyzer, name=ANALYZER, worker_id="test", model_version="1")
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def first_pending(system: BffSystem) -> str | None:
    """Return the first image that waits, once the tasks of all items are made."""
    async with system.client() as client:
        status = await client.get_status(SHOP)
        if status.analysis.pending_item_count < status.item_with_image_count:
            return None
        request = pb.ListAnalysesRequest(analyzer=ANALYZER, state=ANALYSIS_STATE_PENDING)
        request.shop.platform, request.shop.domain = "shopify", DOMAIN
        return (await client.list_analyses(request)).analyses[0].image_id


async def ended(system: BffSystem) -> AnalysisCounts | None:
    """Return the counts once nothing is pending."""
    async with system.client() as client:
        counts = (await client.get_status(SHOP)).analysis
        return counts if counts.pending_item_count == 0 else None


async def catalogsync(system: BffSystem, *arguments: str, code: int = 0) -> Any:
    """Return the document that a command prints, or a list if it prints several; of an error, its reason."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "catalogsync_cli", *arguments, "--json",
        env={
            **clean_environment(),
            "CATALOGSYNC_CATALOG": system.small.catalog_address("catalog"),
            "CATALOGSYNC_SERVICE_SECRET": SERVICE_SECRET,
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    if code:
        return json.loads(err)["error"]["reason"]
    documents = [json.loads(line) for line in out.splitlines()]
    return documents[0] if len(documents) == 1 else documents


async def test_the_command_line_shows_results_failures_and_counts(system: BffSystem) -> None:
    status = await catalogsync(system, "status", SHOP)
    counts = {name: int(value) for name, value in status["analysis"].items()}
    assert sum(counts.values()) == int(status["itemWithImageCount"])
    assert counts["failedItemCount"] >= 1
    results = await catalogsync(system, "analysis", "list", SHOP, "--analyzer", ANALYZER)
    assert {one["result"]["qualityScore"] for one in results} == {"0.87"}
    dead = await catalogsync(system, "analysis", "dead", SHOP)
    assert (dead["failure"]["reason"], dead["analyzer"]) == ("IMAGE_NOT_FOUND", ANALYZER)
    failed = await catalogsync(system, "analysis", "get", SHOP, dead["itemId"])
    assert failed["state"] == "ANALYSIS_STATE_FAILED"
    found = await catalogsync(system, "analysis", "get", SHOP, results[0]["itemId"])
    assert found["analyses"][0]["result"]["attributes"]["components"] == COMPONENTS
    assert await catalogsync(system, "analysis", "get", SHOP, "no-item", code=3) == "ITEM_NOT_FOUND"


async def test_the_command_line_filters(system: BffSystem) -> None:
    failed = await catalogsync(system, "items", SHOP, "--analysis-state", "failed")
    for item in failed if isinstance(failed, list) else [failed]:
        assert item["analysis"]["state"] == "ANALYSIS_STATE_FAILED"
    too_good = ("analysis", "list", SHOP, "--analyzer", ANALYZER, "--min-quality", "0.871")
    assert await catalogsync(system, *too_good) == []
    assert len(await catalogsync(system, *too_good[:-1], "0.87")) >= 2


async def test_an_analyzer_that_is_off_cannot_be_requeued(system: BffSystem) -> None:
    reason = await catalogsync(system, "analysis", "requeue", SHOP, "--analyzer", "other", "--dead", code=5)
    assert reason == "ANALYZER_NOT_ENABLED"


async def test_a_merchant_sees_the_analyses_of_its_own_shop(system: BffSystem) -> None:
    shop_id = await system.shop_id()
    async with system.browser() as browser:
        data = (await browser.get(f"/shops/{shop_id}/status")).data
        assert data["analyzed_item_count"] == data["analysis"]["analyzed_item_count"] > 0
        (item, *_) = await items_in(browser, shop_id, "ANALYZED")
        assert item["analysis"]["results"][0]["quality_score"] == "0.87"
        path = f"/shops/{shop_id}/items/{item['item_id']}/analysis"
        result = (await browser.get(path)).data["analyses"][0]["result"]
        assert result["attributes"] == {"components": COMPONENTS}
        (failed, *_) = await items_in(browser, shop_id, "FAILED")
        analysis = (await browser.get(f"/shops/{shop_id}/items/{failed['item_id']}/analysis")).data
        assert analysis["analyses"][0]["failure"]["reason"] == "IMAGE_NOT_FOUND"
        mixed = await browser.get(f"/shops/{shop_id}/items?analysis_state=FAILED&sku=a")
        assert (mixed.status, mixed.code) == (400, "INVALID_REQUEST")
    async with system.browser(f"merchant:{STRANGER}") as stranger:
        answer = await stranger.get(path)
        assert (answer.status, answer.code) == (404, "SHOP_NOT_FOUND")


async def items_in(browser: BffClient, shop_id: str, state: str) -> list[dict[str, Any]]:
    """Return the items in a state, of which there must be some."""
    items: list[dict[str, Any]] = (await browser.get(f"/shops/{shop_id}/items?analysis_state={state}")).data
    assert items
    assert {item["analysis"]["state"] for item in items} == {state}
    return items


async def test_dead_images_are_queued_and_analyzed_again(system: BffSystem) -> None:
    """The last test of the module: afterwards no image is dead."""
    queued = await catalogsync(system, "analysis", "requeue", SHOP, "--analyzer", ANALYZER, "--dead")
    assert queued["requeuedCount"] == "1"
    async with running_worker(system, ScriptedAnalyzer(failing_image_id="")):
        counts = await until_found(lambda: ended(system))
    assert counts.failed_item_count == 0
    assert await catalogsync(system, "analysis", "dead", SHOP) == []
