"""`catalogsync check|platforms|status|items|item` as a process, against fake services on real sockets."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ItemOption, Shop, Sync
from catalogsync.connector.v1.connector_service_pb2 import CheckShopResponse, Platform, PlatformCapabilities
from catalogsync.types.v1.product_pb2 import PRODUCT_STATUS_DRAFT, Money

from tests.fakes.catalog_service import FakeCatalog, timestamp
from tests.fakes.checking_connector import CheckingConnector
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.fixture
def items(catalog: FakeCatalog) -> list[Item]:
    stored = [
        Item(
            item_id=str(1000 + number),
            product_id=str(number // 4),
            product_title=f"Shirt {number // 4}",
            title="M / Red",
            sku=f"SKU-{number}",
            price=Money(amount="7.30", currency_code="USD"),
            product_status=PRODUCT_STATUS_DRAFT,
            update_time=timestamp(1_700_000_000 + number),
            feed_position=1 + number,
        )
        for number in range(2500)
    ]
    stored[7].delete_time.CopyFrom(timestamp(1_700_009_999))
    catalog.items[NAME] = stored
    return stored


async def test_check_reports_that_the_shop_can_be_read(connector: CheckingConnector, run: CommandLine) -> None:
    connector.shops[NAME] = CheckShopResponse(
        currency_code="USD", product_count=120, granted_scopes=["read_products"], notes=["no bulk route"]
    )
    result = await run("check", "shopify:Demo.MyShopify.com.")
    assert result.code == 0
    for text in ("can be read", "USD", "120", "read_products", "no bulk route"):
        assert text in result.out
    assert (await run("check", NAME, "--json")).documents[0]["productCount"] == "120"


async def test_check_of_a_shop_without_credentials_fails_with_the_reason(run: CommandLine) -> None:
    result = await run("check", NAME)
    assert result.code == 1
    assert result.out == ""
    assert "connect it first [CREDENTIALS_NOT_FOUND]" in result.err


async def test_platforms_lists_the_supported_platforms(connector: CheckingConnector, run: CommandLine) -> None:
    can = PlatformCapabilities(incremental=True)
    connector.platforms = [Platform(name="shopify", display_name="Shopify", capabilities=can)]
    result = await run("platforms")
    assert result.code == 0
    assert "Shopify" in result.out
    assert "incremental" in result.out
    assert (await run("platforms", "--json")).documents[0]["platforms"][0]["name"] == "shopify"


@pytest.mark.usefixtures("items")
async def test_status_shows_counts_freshness_and_the_last_sync(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    note = "Stock of 2 locations could not be read."
    ended = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED, notes=[note])
    active = catalog.add_sync(shop, state=Sync.STATE_RUNNING)
    result = await run("status", NAME)
    assert result.code == 0
    for text in ("625", "2,499", "no complete sync yet", note, ended.sync_id, active.sync_id):
        assert text in result.out
    assert (await run("status", NAME, "--json")).documents[0]["itemCount"] == "2499"


async def test_items_reads_all_pages_up_to_the_limit(items: list[Item], run: CommandLine) -> None:
    result = await run("items", NAME, "--limit", "2200", "--json")
    expected = [item.item_id for item in items if not item.HasField("delete_time")][:2200]
    assert [document["itemId"] for document in result.documents] == expected
    assert "more than 2,200" in result.err


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("--sku", "SKU-5"), ["1005"]),
        (("--product", "1"), ["1004", "1005", "1006"]),
        (("--product", "1", "--deleted"), ["1004", "1005", "1006", "1007"]),
        (("--text", "shirt 62", "--sku", "SKU-250"), ["1250"]),
        (("--sku", "none"), []),
    ],
)
async def test_items_are_filtered(run: CommandLine, filters: tuple[str, ...], expected: list[str]) -> None:
    result = await run("items", NAME, *filters, "--json")
    assert result.code == 0
    assert [document["itemId"] for document in result.documents] == expected


@pytest.mark.usefixtures("items")
async def test_a_table_of_items_shows_ids_titles_and_money(run: CommandLine) -> None:
    result = await run("items", NAME, "--sku", "SKU-5")
    for text in ("1005", "Shirt 1 / M / Red", "SKU-5", "7.30 USD", "not tracked"):
        assert text in result.out


async def test_one_item_is_shown_with_all_its_fields(catalog: FakeCatalog, run: CommandLine) -> None:
    option = ItemOption(name="Size", value="[red]M[/red]\x1b[2J")
    catalog.items[NAME] = [Item(item_id="1", product_id="2", product_title="Shirt", options=[option])]
    result = await run("item", NAME, "1")
    assert result.code == 0
    assert "Size: [red]M[/red] [2J" in result.out
    assert (await run("item", NAME, "1", "--json")).documents[0]["options"][0]["name"] == "Size"
    assert (await run("item", NAME, "9")).code == 3
