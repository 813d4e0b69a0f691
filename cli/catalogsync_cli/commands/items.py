"""The commands `items` and `item`: list and show stored items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ListItemsRequest, ListItemsResponse
from catalogsync.types.v1.product_pb2 import Money, ProductStatus

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import enum_name, sanitize
from catalogsync_cli.output import (
    LIMIT,
    Listing,
    make_console,
    print_fields,
    print_json,
    print_notice,
    time_text,
)
from catalogsync_cli.shop import SHOP, ShopName

_MAX_PAGE_SIZE = 1000
ITEM_COLUMNS = ("ITEM", "PRODUCT", "TITLE", "SKU", "PRICE", "STOCK", "STATUS")


@click.command()
@click.argument("shop", type=SHOP)
@click.option("--sku", default="", help="Match the exact SKU.")
@click.option("--product", default="", metavar="ID", help="Match the platform's product id.")
@click.option("--text", default="", help="Match part of a title, at least 3 characters, ignoring case.")
@click.option(
    "--after-position",
    type=click.IntRange(min=1),
    metavar="POSITION",
    help="Match items that changed after this position, which an earlier list has printed; use with --deleted.",
)
@click.option(
    "--incarnation", default="", metavar="ID", help="The incarnation that was printed with the position."
)
@click.option("--deleted", is_flag=True, help="Include deleted items.")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of items to list.")
@command_options
def items(
    shop: ShopName,
    sku: str,
    product: str,
    text: str,
    after_position: int | None,
    incarnation: str,
    deleted: bool,
    limit: int,
) -> ExitCode:
    """List items of SHOP that match all filters.

    A list that is complete ends with the position after which the next one finds what has changed since.
    """
    request = ListItemsRequest(
        shop=shop.for_catalog(),
        sku=sku,
        product_id=product,
        text=text,
        after_position=after_position or 0,
        incarnation=incarnation,
        include_deleted=deleted,
    )
    return run(_items(request, limit, current_options()), current_options())


async def _items(request: ListItemsRequest, limit: int, options: Options) -> ExitCode:
    page = ListItemsResponse()
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Item], str]:
            nonlocal page
            request.page_size, request.page_token = size, token
            page = await client.list_items(request)
            return page.items, page.next_page_token

        listing = Listing(fetch=fetch, max_page_size=_MAX_PAGE_SIZE, columns=ITEM_COLUMNS, row=item_row)
        exit_code = await listing.print(limit, as_json=options.json)
    if not page.next_page_token:
        _print_next_position(page, as_json=options.json)
    return exit_code


def _print_next_position(page: ListItemsResponse, *, as_json: bool) -> None:
    """Print where the next list continues, to standard error: it is no item."""
    if as_json:
        print_notice(json.dumps({"next": {"position": str(page.position), "incarnation": page.incarnation}}))
    elif page.position:
        print_notice(
            f"Next: --after-position {page.position} --incarnation {sanitize(page.incarnation)} --deleted"
        )


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
    status = "DELETED" if found.HasField("delete_time") else status_text(found.product_status)
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
    yield "Status", status_text(found.product_status)
    yield "Vendor", found.vendor
    yield "Type", found.product_type
    yield "Image", found.image_url
    yield "Page", found.product_url
    yield "Changed at source", time_text(found, "source_update_time")
    yield "First stored", time_text(found, "create_time")
    yield "Last changed", time_text(found, "update_time")
    yield "Deleted", time_text(found, "delete_time")


def status_text(status: ProductStatus.ValueType) -> str:
    """Return a product status as it is shown, "" when it is unknown."""
    return enum_name(ProductStatus.Name, status, "PRODUCT_STATUS_") if status else ""


def _stock_text(found: Item) -> str:
    count = f"{found.stock_quantity:,}" if found.HasField("stock_quantity") else "not tracked"
    return f"{count}, sellable without stock" if found.sellable_without_stock else count


def _money_text(money: Money) -> str:
    return f"{money.amount} {money.currency_code}".strip()
