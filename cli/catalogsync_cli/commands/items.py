"""The commands `items list|follow` and `item`: list, follow and show stored items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from catalogsync.catalog.v1.analysis_pb2 import AnalysisState
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ListItemsRequest
from catalogsync_client import ShopName

from catalogsync_cli.analysis_text import item_analysis_text
from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.commands.follow_items import follow
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.item_text import (
    ITEM_COLUMNS,
    MORE_ITEM_COLUMNS,
    item_row,
    money_text,
    more_item_cells,
    status_text,
    stock_text,
)
from catalogsync_cli.output import (
    LIMIT,
    Listing,
    make_console,
    print_fields,
    print_json,
    time_text,
)
from catalogsync_cli.shop import SHOP

_MAX_PAGE_SIZE = 1000
_ANALYSIS_STATES = {
    name.removeprefix("ANALYSIS_STATE_").lower().replace("_", "-"): number
    for name, number in AnalysisState.items()
}


class _ListByDefault(click.Group):
    """A group whose command `list` may be omitted."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_command = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if is_command else ["list", *args])


@click.group(cls=_ListByDefault)
def items() -> None:
    """List the items of a shop, or follow their changes. `items SHOP` is `items list SHOP`."""


items.add_command(follow)


@items.command("list")
@click.argument("shop", type=SHOP)
@click.option("--sku", default="", help="Match the exact SKU.")
@click.option("--product", default="", metavar="ID", help="Match the platform's product id.")
@click.option("--text", default="", help="Match part of a title, at least 3 characters, ignoring case.")
@click.option("--deleted", is_flag=True, help="Include deleted items.")
@click.option(
    "--analysis-state",
    type=click.Choice(tuple(_ANALYSIS_STATES)[1:], case_sensitive=False),
    help="List only items whose image is in this state of analysis; no other filter may be given with it.",
)
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of items to list.")
@command_options
def list_items(
    shop: ShopName,
    sku: str,
    product: str,
    text: str,
    deleted: bool,
    analysis_state: str | None,
    limit: int,
) -> ExitCode:
    """List items of SHOP that match all filters."""
    if analysis_state and (sku or product or text or deleted):
        raise click.UsageError("--analysis-state excludes --sku, --product, --text and --deleted")
    request = ListItemsRequest(
        shop=shop.for_catalog(),
        sku=sku,
        product_id=product,
        text=text,
        include_deleted=deleted,
        analysis_state=_ANALYSIS_STATES[analysis_state or "unspecified"],
    )
    return run(_items(request, limit, current_options()), current_options())


async def _items(request: ListItemsRequest, limit: int, options: Options) -> ExitCode:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Item], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_items(request)
            return page.items, page.next_page_token

        listing = Listing(
            fetch=fetch,
            max_page_size=_MAX_PAGE_SIZE,
            columns=ITEM_COLUMNS,
            row=item_row,
            more_columns=MORE_ITEM_COLUMNS,
            more_cells=more_item_cells,
        )
        return await listing.print(limit, output=options.output)


@click.command()
@click.argument("shop", type=SHOP)
@click.argument("item_id", metavar="ID")
@command_options
def item(shop: ShopName, item_id: str) -> ExitCode:
    """Show one item of SHOP by its platform ID.

    Also a deleted one.
    """
    return run(_item(shop, item_id, current_options()), current_options())


async def _item(shop: ShopName, item_id: str, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        found = await client.get_item(shop, item_id)
    if options.json:
        print_json(found)
    else:
        print_fields(make_console(), _item_fields(found))
    return ExitCode.OK


def _item_fields(found: Item) -> list[tuple[str, str]]:
    return [
        ("Item", found.item_id),
        ("Product", f"{found.product_id}: {found.product_title}"),
        ("Title", found.title),
        *(("Option", f"{option.name}: {option.value}") for option in found.options),
        ("SKU", found.sku),
        ("Barcode", found.barcode),
        ("Price", money_text(found.price) or "none"),
        ("Compare at", money_text(found.compare_at_price)),
        ("Stock", stock_text(found)),
        ("Available", "yes" if found.available else "no"),
        ("Weight", f"{found.weight} {found.weight_unit}" if found.weight else ""),
        *_product_fields(found),
    ]


def _product_fields(found: Item) -> Iterator[tuple[str, str]]:
    yield "Status", status_text(found.product_status)
    yield "Vendor", found.vendor
    yield "Type", found.product_type
    yield "Image", found.image_url
    yield "Analysis", item_analysis_text(found.analysis)
    yield "Page", found.product_url
    yield "Changed at source", time_text(found, "source_update_time")
    yield "First stored", time_text(found, "create_time")
    yield "Last changed", time_text(found, "update_time")
    yield "Deleted", time_text(found, "delete_time")
