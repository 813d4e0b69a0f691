"""The commands `items` and `item`: list and show stored items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ListItemsRequest
from catalogsync.types.v1.product_pb2 import Money, ProductStatus

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import enum_name
from catalogsync_cli.output import LIMIT, Listing, make_console, print_fields, print_json, time_text
from catalogsync_cli.shop import SHOP, ShopName

_MAX_PAGE_SIZE = 1000
ITEM_COLUMNS = ("ITEM", "PRODUCT", "TITLE", "SKU", "PRICE", "STOCK", "STATUS")


@click.command()
@click.argument("shop", type=SHOP)
@click.option("--sku", default="", help="Match the exact SKU.")
@click.option("--product", default="", metavar="ID", help="Match the platform's product id.")
@click.option("--text", default="", help="Match part of a title, ignoring case.")
@click.option(
    "--updated-after",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
    help="Match items changed or deleted in the catalog after this time; UTC unless it has a zone.",
)
@click.option("--deleted", is_flag=True, help="Include deleted items.")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of items to list.")
@command_options
def items(
    shop: ShopName,
    sku: str,
    product: str,
    text: str,
    updated_after: datetime | None,
    deleted: bool,
    limit: int,
) -> ExitCode:
    """List items of SHOP that match all filters."""
    request = ListItemsRequest(
        shop=shop.for_catalog(), sku=sku, product_id=product, text=text, include_deleted=deleted
    )
    if updated_after is not None:
        request.updated_after.FromDatetime(_aware(updated_after))
    return run(_items(request, limit, current_options()), current_options())


async def _items(request: ListItemsRequest, limit: int, options: Options) -> ExitCode:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Item], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_items(request)
            return page.items, page.next_page_token

        listing = Listing(fetch=fetch, max_page_size=_MAX_PAGE_SIZE, columns=ITEM_COLUMNS, row=item_row)
        return await listing.print(limit, as_json=options.json)


@click.command()
@click.argument("shop", type=SHOP)
@click.argument("item_id", metavar="ID")
@command_options
def item(shop: ShopName, item_id: str) -> ExitCode:
    """Show one item of SHOP by its platform ID, deleted or not."""
    return run(_item(shop, item_id, current_options()), current_options())


async def _item(shop: ShopName, item_id: str, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        found = await client.get_item(shop, item_id)
    if options.json:
        print_json(found)
    else:
        print_fields(make_console(), _item_fields(found))
    return ExitCode.OK


def item_row(found: Item) -> tuple[str, ...]:
    """Return the cells of an item below ITEM_COLUMNS."""
    title = f"{found.product_title} / {found.title}" if found.title else found.product_title
    status = "DELETED" if found.HasField("delete_time") else _status_text(found)
    return (
        found.item_id,
        found.product_id,
        title,
        found.sku or "-",
        _money_text(found.price) or "-",
        _stock_text(found),
        status,
    )


def _item_fields(found: Item) -> list[tuple[str, str]]:
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
        *_product_fields(found),
    ]


def _product_fields(found: Item) -> Iterator[tuple[str, str]]:
    yield "Status", _status_text(found)
    yield "Vendor", found.vendor
    yield "Type", found.product_type
    yield "Image", found.image_url
    yield "Page", found.product_url
    yield "Changed at source", time_text(found, "source_update_time")
    yield "First stored", time_text(found, "create_time")
    yield "Last changed", time_text(found, "update_time")
    yield "Deleted", time_text(found, "delete_time")


def _status_text(found: Item) -> str:
    return enum_name(ProductStatus.Name, found.product_status, "PRODUCT_STATUS_") if found.product_status else ""


def _stock_text(found: Item) -> str:
    count = f"{found.stock_quantity:,}" if found.HasField("stock_quantity") else "not tracked"
    return f"{count}, sellable without stock" if found.sellable_without_stock else count


def _money_text(money: Money) -> str:
    return f"{money.amount} {money.currency_code}".strip()


def _aware(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
