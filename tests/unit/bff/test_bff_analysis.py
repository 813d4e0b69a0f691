"""Analyses of images over HTTP: the filter of items, the findings of one image, and the counts of a shop."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, Shop

from tests.bff_client import BffClient
from tests.fakes.catalog_service import FakeCatalog
from tests.fakes.image_analyses import analyzed, failed, pending

NAME = "shopify:demo.myshopify.com"


@pytest.fixture
def shop_id(catalog: FakeCatalog, shop: Shop) -> str:
    """A shop with an item in each state, and one whose analyzer has found much."""
    registered = catalog.register(shop)
    items = [Item(item_id=str(number), product_id="1", feed_position=number + 1) for number in range(4)]
    catalog.items[NAME] = items
    catalog.analyzers[NAME] = ["image-quality"]
    components = [{"name": "sharpness", "score": "0.9", "weight": 0.5, "measured": 120}]
    found = analyzed("0.875", description="A mug.", attributes={"components": components})
    found.result.processing_time.FromMilliseconds(1500)
    catalog.analyses.put(items[0], found)
    catalog.analyses.put(items[1], pending())
    catalog.analyses.put(items[2], failed("IMAGE_NOT_FOUND", "HTTP 404"))
    catalog.analyses.put(items[3])
    return registered.shop_id


@pytest.mark.parametrize(
    ("state", "items"), [("ANALYZED", ["0"]), ("PENDING", ["1"]), ("FAILED", ["2"]), ("NOT_APPLICABLE", ["3"])]
)
async def test_items_are_filtered_by_state(bff: BffClient, shop_id: str, state: str, items: list[str]) -> None:
    answer = await bff.get(f"/shops/{shop_id}/items", params={"analysis_state": state})
    assert [item["item_id"] for item in answer.data] == items
    assert answer.data[0]["analysis"]["state"] == state


async def test_a_summary_has_the_score_as_a_decimal_string(bff: BffClient, shop_id: str) -> None:
    answer = await bff.get(f"/shops/{shop_id}/items/0")
    (summary,) = answer.data["analysis"]["results"]
    assert (summary["analyzer"], summary["quality_score"]) == ("image-quality", "0.875")


@pytest.mark.parametrize(
    "query", ["analysis_state=DONE", "analysis_state=UNSPECIFIED", "analysis_state=FAILED&text=abc"]
)
async def test_a_filter_that_cannot_be_is_refused(bff: BffClient, shop_id: str, query: str) -> None:
    answer = await bff.get(f"/shops/{shop_id}/items?{query}")
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_the_findings_of_an_image_are_whole(bff: BffClient, shop_id: str) -> None:
    data = (await bff.get(f"/shops/{shop_id}/items/0/analysis")).data
    assert data["state"] == "ANALYZED"
    result = data["analyses"][0]["result"]
    assert result["attributes"] == {
        "components": [{"name": "sharpness", "score": "0.9", "weight": 0.5, "measured": 120}]
    }
    assert (result["description"], result["processing_time"]) == ("A mug.", 1.5)
    failure = (await bff.get(f"/shops/{shop_id}/items/2/analysis")).data["analyses"][0]["failure"]
    assert failure == {"reason": "IMAGE_NOT_FOUND", "message": "HTTP 404", "permanent": False}
    assert (await bff.get(f"/shops/{shop_id}/items/3/analysis")).data["analyses"] == []
    missing = await bff.get(f"/shops/{shop_id}/items/none/analysis")
    assert (missing.status, missing.code) == (404, "ITEM_NOT_FOUND")


async def test_the_status_counts_items_by_state(bff: BffClient, catalog: FakeCatalog, shop_id: str) -> None:
    data = (await bff.get(f"/shops/{shop_id}/status")).data
    assert data["analyzed_item_count"] == 1
    assert data["analysis"] == {"pending_item_count": 1, "analyzed_item_count": 1, "failed_item_count": 1}
    assert (await bff.get(f"/shops/{shop_id}")).data["analyzers"] == ["image-quality"]
    catalog.analyzers[NAME] = []
    data = (await bff.get(f"/shops/{shop_id}/status")).data
    assert (data["analyzed_item_count"], data["analysis"]) == (None, None)
