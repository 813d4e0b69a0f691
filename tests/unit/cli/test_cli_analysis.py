"""`catalogsync analysis|shops|items|status`: analyses of images, against a fake catalog on a real socket."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, Shop

from tests.fakes.catalog_service import FakeCatalog
from tests.fakes.image_analyses import PENDING, analyzed, failed, pending
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"
COMPONENTS = [{"name": "sharpness", "score": "0.91", "weight": "0.4", "measured": 312.5}]
QUALITY = ("--analyzer", "image-quality")


@pytest.fixture
def shop_with_items(catalog: FakeCatalog, shop: Shop) -> Shop:
    """Six items: four results, a task that waits, a dead one."""
    registered = catalog.register(shop)
    items = [Item(item_id=str(4700 + number), product_id="1", feed_position=number + 1) for number in range(6)]
    catalog.items[NAME] = items
    catalog.analyzers[NAME] = ["image-quality"]
    for number, quality in enumerate(("0.87", "0.4", "0.1", "1")):
        attributes = {"components": COMPONENTS, "format": "JPEG"}
        found = analyzed(quality, category="Shirts" if number % 2 else "Mugs", attributes=attributes)
        found.image_id = f"{number}" * 64
        catalog.analyses.put(items[number], found)
    catalog.analyses.put(items[4], pending())
    catalog.analyses.put(items[5], failed("IMAGE_NOT_FOUND", "HTTP 404"))
    return registered


@pytest.mark.usefixtures("shop_with_items")
@pytest.mark.parametrize(
    ("options", "items"),
    [
        ((), ["4702", "4701", "4700", "4703"]),
        (("--category", "Mugs"), ["4702", "4700"]),
        (("--min-quality", "0.4"), ["4701", "4700", "4703"]),
        (("--min-quality", ".4", "--max-quality", "87e-2"), ["4701", "4700"]),
        (("--state", "pending"), ["4704"]),
        (("--state", "failed"), ["4705"]),
        (("--limit", "1"), ["4702"]),
    ],
)
async def test_analyses_are_listed_and_filtered(
    run: CommandLine, options: tuple[str, ...], items: list[str]
) -> None:
    result = await run("analysis", "list", NAME, *QUALITY, *options, "--json")
    assert result.code == 0, result.err
    assert [document["itemId"] for document in result.documents] == items


@pytest.mark.usefixtures("shop_with_items")
async def test_a_table_has_whole_ids_and_scores_as_they_are_stored(run: CommandLine) -> None:
    result = await run("analysis", "list", NAME, *QUALITY, COLUMNS="60")
    lines = result.out.splitlines()
    assert len(lines) == 5
    assert lines[1].split()[:5] == ["2" * 64, "4702", "ANALYZED", "0.1", "0.95"]
    wide = await run("analysis", "list", NAME, *QUALITY, "--output", "wide")
    assert "MODEL" in wide.out.splitlines()[0]
    tasks = await run("analysis", "list", NAME, *QUALITY, "--state", "failed")
    assert tasks.out.splitlines()[1].split()[-3:] == ["IMAGE_NOT_FOUND", "HTTP", "404"]


@pytest.mark.parametrize("score", ["1.1", "-0.1", "half", "NaN", "Infinity"])
async def test_a_score_that_is_none_sends_no_request(run: CommandLine, catalog: FakeCatalog, score: str) -> None:
    result = await run("analysis", "list", NAME, *QUALITY, f"--min-quality={score}")
    assert result.code == 2
    assert "from 0 to 1" in result.err
    assert catalog.requests == []


@pytest.mark.usefixtures("shop_with_items")
async def test_the_analysis_of_an_item_says_why(run: CommandLine) -> None:
    shown = (await run("analysis", "get", NAME, "4700")).out
    for text in ("ANALYZED", "0.87", "Mugs", "sharpness: score 0.91, weight 0.4, measured 312.5", '"JPEG"'):
        assert text in shown
    assert "HTTP 404 [IMAGE_NOT_FOUND]" in (await run("analysis", "get", NAME, "4705")).out
    document = (await run("analysis", "get", NAME, "4700", "--json")).documents[0]
    assert document["analyses"][0]["result"]["attributes"]["components"] == COMPONENTS
    assert (await run("analysis", "get", NAME, "1")).code == 3


@pytest.mark.usefixtures("shop_with_items")
async def test_dead_tasks_are_listed_with_their_failure(run: CommandLine) -> None:
    result = await run("analysis", "dead", NAME)
    for text in ("4705", "IMAGE_NOT_FOUND", "HTTP 404"):
        assert text in result.out
    assert (await run("analysis", "dead", NAME, "--analyzer", "other", "--json")).documents == []


@pytest.mark.usefixtures("shop_with_items")
@pytest.mark.parametrize(
    ("selection", "queued"),
    [
        (("--dead",), {"4704", "4705"}),
        (("--image", "0" * 64, "--image", "1" * 64), {"4700", "4701", "4704"}),
        (("--other-than-model", "2"), {"4700", "4701", "4702", "4703", "4704"}),
    ],
)
async def test_all_images_that_are_selected_are_queued_again(
    catalog: FakeCatalog, run: CommandLine, selection: tuple[str, ...], queued: set[str]
) -> None:
    """Also those above the limit of one call."""
    catalog.analyses.max_requeued = 1
    result = await run("analysis", "requeue", NAME, *QUALITY, *selection, "--json")
    assert result.code == 0, result.err
    assert result.documents[0]["requeuedCount"] == str(len(queued) - 1)
    assert {item.item_id for item in catalog.items[NAME] if item.analysis.state == PENDING} == queued


@pytest.mark.usefixtures("shop_with_items")
async def test_more_images_than_a_call_may_name_are_sent_in_several(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    options = [option for number in range(1500) for option in ("--image", str(number))]
    assert (await run("analysis", "requeue", NAME, *QUALITY, *options)).code == 0
    sizes = [len(request.image_ids.ids) for method, request, _ in catalog.requests if method == "RequeueTasks"]
    assert sizes == [1000, 500]


@pytest.mark.parametrize(
    "selection", [(), ("--dead", "--image", "1"), ("--dead", "--other-than-model", "1"), ("--image",)]
)
async def test_requeue_takes_exactly_one_selection(
    catalog: FakeCatalog, run: CommandLine, selection: tuple[str, ...]
) -> None:
    assert (await run("analysis", "requeue", NAME, *QUALITY, *selection)).code == 2
    assert catalog.requests == []


@pytest.mark.usefixtures("shop_with_items")
async def test_an_analyzer_that_is_off_is_a_conflict_with_the_command_that_switches_it_on(
    run: CommandLine,
) -> None:
    result = await run("analysis", "requeue", NAME, "--analyzer", "other", "--dead")
    assert result.code == 5
    assert "shops update the-shop --analyzer other" in result.err


async def test_analyzers_of_a_shop_are_replaced_reset_and_shown(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    catalog.register(shop, display_name="Demo")
    shown = await run("shops", "update", NAME, "--analyzer", "image-quality", "--analyzer", "colours")
    assert "image-quality, colours" in shown.out
    assert "image-quality, colours" in (await run("shops", "show", NAME)).out
    assert "image-quality, colours" in (await run("shops", "list", "--output", "wide")).out
    assert (await run("shops", "update", NAME, "--name", "Other", "--json")).documents[0]["analyzers"] == [
        "image-quality",
        "colours",
    ]
    assert (await run("shops", "update", NAME, "--analyzer", "")).code == 0
    assert catalog.analyzers[NAME] == []
    assert (await run("shops", "update", NAME, "--analyzer", "", "--analyzer", "colours")).code == 2


@pytest.mark.usefixtures("shop_with_items")
async def test_the_status_counts_items_by_state(catalog: FakeCatalog, run: CommandLine) -> None:
    assert "4 of 6 items analyzed, 1 pending, 1 failed" in (await run("status", NAME)).out
    catalog.analyzers[NAME] = []
    assert "analyzed" not in (await run("status", NAME)).out


@pytest.mark.usefixtures("shop_with_items")
async def test_items_are_filtered_by_the_state_of_their_analysis(catalog: FakeCatalog, run: CommandLine) -> None:
    found = await run("items", NAME, "--analysis-state", "failed", "--json")
    assert [document["itemId"] for document in found.documents] == ["4705"]
    assert found.documents[0]["analysis"] == {"state": "ANALYSIS_STATE_FAILED", "results": []}
    assert (await run("items", NAME, "--analysis-state", "not-applicable", "--json")).documents == []
    before = len(catalog.requests)
    for other in (("--sku", "a"), ("--product", "1"), ("--text", "abc"), ("--deleted",)):
        assert (await run("items", NAME, "--analysis-state", "failed", *other)).code == 2
    assert len(catalog.requests) == before


@pytest.mark.usefixtures("shop_with_items")
async def test_an_item_shows_its_quality(catalog: FakeCatalog, run: CommandLine) -> None:
    assert "ANALYZED: image-quality 0.87" in (await run("item", NAME, "4700")).out
    wide = (await run("items", NAME, "--output", "wide")).out.splitlines()
    assert "image-quality 0.87" in wide[1]
    catalog.items[NAME].append(Item(item_id="1", product_id="2", feed_position=9))
    assert "Analysis" not in (await run("item", NAME, "1")).out
