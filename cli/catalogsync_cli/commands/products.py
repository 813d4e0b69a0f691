"""The commands `products` and `product`: list and show stored products."""

from __future__ import annotations

from collections.abc import Sequence

import click
from catalogsync.catalog.v1.catalog_service_pb2 import ListProductsRequest, Product
from catalogsync_client import ShopName

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.item_text import ITEM_COLUMNS, item_row, status_text
from catalogsync_cli.output import LIMIT, Listing, make_console, print_fields, print_json, print_table, time_text
from catalogsync_cli.shop import SHOP

_MAX_PAGE_SIZE = 250
_PRODUCT_COLUMNS = ("PRODUCT", "TITLE", "VENDOR", "TYPE", "ITEMS", "STATUS")


@click.command()
@click.argument("shop", type=SHOP)
@click.option("--text", default="", help="Match part of the title, at least 3 characters, ignoring case.")
@click.option("--deleted", is_flag=True, help="Include deleted products.")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of products to list.")
@command_options
def products(shop: ShopName, text: str, deleted: bool, limit: int) -> ExitCode:
    """List products of SHOP that match all filters.

    With --json each product has its items.
    """
    request = ListProductsRequest(shop=shop.for_catalog(), text=text, include_deleted=deleted)
    return run(_products(request, limit, current_options()), current_options())


async def _products(request: ListProductsRequest, limit: int, options: Options) -> ExitCode:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Product], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_products(request)
            return page.products, page.next_page_token

        listing = Listing(fetch=fetch, max_page_size=_MAX_PAGE_SIZE, columns=_PRODUCT_COLUMNS, row=_product_row)
        return await listing.print(limit, output=options.output)


@click.command()
@click.argument("shop", type=SHOP)
@click.argument("product_id", metavar="ID")
@command_options
def product(shop: ShopName, product_id: str) -> ExitCode:
    """Show one product of SHOP with its items.

    Also a deleted one, and deleted items.
    """
    return run(_product(shop, product_id, current_options()), current_options())


async def _product(shop: ShopName, product_id: str, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        found = await client.get_product(shop, product_id)
    if options.json:
        print_json(found)
        return ExitCode.OK
    console = make_console()
    print_fields(console, _product_fields(found))
    if found.items:
        console.print()
        print_table(console, ITEM_COLUMNS, [item_row(item) for item in found.items])
    return ExitCode.OK


def _product_row(found: Product) -> tuple[str, ...]:
    status = "DELETED" if found.HasField("delete_time") else status_text(found.status)
    return (
        found.product_id,
        found.title,
        found.vendor or "-",
        found.product_type or "-",
        f"{len(found.items):,}",
        status,
    )


def _product_fields(found: Product) -> list[tuple[str, str]]:
    return [
        ("Product", found.product_id),
        ("Title", found.title),
        ("Handle", found.handle),
        ("Status", status_text(found.status)),
        ("Vendor", found.vendor),
        ("Type", found.product_type),
        ("Tags", ", ".join(found.tags)),
        *(("Option", f"{option.name}: {', '.join(option.values)}") for option in found.options),
        *(("Image", image.url) for image in found.images),
        ("Page", found.url),
        ("Description", found.description_html),
        ("Changed at source", time_text(found, "source_update_time")),
        ("First stored", time_text(found, "create_time")),
        ("Last changed", time_text(found, "update_time")),
        ("Deleted", time_text(found, "delete_time")),
    ]
