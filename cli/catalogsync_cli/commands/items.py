"""What is asked of the stored items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ListItemsRequest, Money

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, current, options_of_command, run
from catalogsync_cli.exit_codes import Exit
from catalogsync_cli.output import LIMIT, Listing, make_console, print_facts, print_json, time_text
from catalogsync_cli.shop import SHOP, ShopName

LARGEST_PAGE = 1000
ITEM_COLUMNS = ("ITEM", "PRODUCT", "TITLE", "SKU", "PRICE", "STOCK", "STATUS")


@click.command()
@click.argument("shop", type=SHOP)
@click.option("--sku", default="", help="Exactly this SKU.")
@click.option("--product", default="", metavar="ID", help="Of this product, by the platform's id.")
@click.option("--text", default="", help="Part of a title, in any case.")
@click.option(
    "--updated-after",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
    help="Stored anew or deleted after this time; UTC when it names no zone.",
)
@click.option("--deleted", is_flag=True, help="Deleted ones too.")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="How many at most.")
@options_of_command
def items(
    shop: ShopName,
    sku: str,
    product: str,
    text: str,
    updated_after: datetime | None,
    deleted: bool,
    limit: int,
) -> Exit:
    """List items of SHOP that match all filters."""
    request = ListItemsRequest(
        shop=shop.for_catalog(), sku=sku, product_id=product, text=text, include_deleted=deleted
    )
    if updated_after is not None:
        request.updated_after.FromDatetime(_aware(updated_after))
    return run(_items(request, limit, current()), current())


async def _items(request: ListItemsRequest, limit: int, options: Options) -> Exit:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Item], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_items(request)
            return page.items, page.next_page_token

        listing = Listing(fetch=fetch, largest_page=LARGEST_PAGE, columns=ITEM_COLUMNS, row=item_row)
        return await listing.print(limit, as_json=options.json)


@click.command()
@click.argument("shop", type=SHOP)
@click.argument("item_id", metavar="ID")
@options_of_command
def item(shop: ShopName, item_id: str) -> Exit:
    """Show one item of SHOP by the platform's ID, deleted or not."""
    return run(_item(shop, item_id, current()), current())


async def _item(shop: ShopName, item_id: str, options: Options) -> Exit:
    async with open_catalog(options) as client:
        found = await client.get_item(shop, item_id)
    if options.json:
        print_json(found)
    else:
        print_facts(make_console(), _item_facts(found))
    return Exit.OK


def item_row(found: Item) -> tuple[str, ...]:
    """An item under ITEM_COLUMNS."""
    title = f"{found.product_title} / {found.title}" if found.title else found.product_title
    status = "DELETED" if found.HasField("delete_time") else found.product_status
    return (
        found.item_id,
        found.product_id,
        title,
        found.sku or "-",
        _money_text(found.price) or "-",
        _stock_text(found),
        status,
    )


def _item_facts(found: Item) -> list[tuple[str, str]]:
    return [
        ("Item", found.item_id),
        ("Product", f"{found.product_id}: {found.product_title}"),
        ("Title", found.title),
        *(("Option", f"{option.name}: {option.value}") for option in found.options),
        ("SKU", found.sku),
        ("Barcode", found.barcode),
        ("Price", _money_text(found.price) or "none"),
        ("Compare at", _money_text(found.compare_at_price)),
        ("Stock", _stock_text(found)),
        ("Available", "yes" if found.available else "no"),
        ("Weight", f"{found.weight} {found.weight_unit}" if found.weight else ""),
        *_product_facts(found),
    ]


def _product_facts(found: Item) -> Iterator[tuple[str, str]]:
    yield "Status", found.product_status
    yield "Vendor", found.vendor
    yield "Type", found.product_type
    yield "Image", found.image_url
    yield "Page", found.product_url
    yield "Changed at source", time_text(found, "source_update_time")
    yield "First stored", time_text(found, "create_time")
    yield "Last stored", time_text(found, "update_time")
    yield "Deleted", time_text(found, "delete_time")


def _stock_text(found: Item) -> str:
    count = f"{found.stock_quantity:,}" if found.HasField("stock_quantity") else "not tracked"
    return f"{count}, sold beyond" if found.sellable_without_stock else count


def _money_text(money: Money) -> str:
    return f"{money.amount} {money.currency_code}".strip()


def _aware(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
