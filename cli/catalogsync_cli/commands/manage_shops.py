"""The commands `shops register|list|show|update|delete`, and `schedule`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import click
from catalogsync.catalog.v1.catalog_service_pb2 import (
    ConnectionHealth,
    ListShopsRequest,
    RegisterShopRequest,
    ShopDetails,
    ShopRef,
    ShopUpdate,
    UpdateShopRequest,
)
from catalogsync_client import ShopName
from catalogsync_common.duration import parse_duration
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.commands.delete_shop import delete
from catalogsync_cli.commands.shop_fields import (
    connection_state,
    details_fields,
    next_sync_text,
    schedule_fields,
)
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.output import LIMIT, Listing, make_console, print_fields, print_json, time_text
from catalogsync_cli.shop import SHOP, SHOP_REF

_MAX_PAGE_SIZE = 500
_STATES = {
    name.removeprefix("STATE_").lower(): number for name, number in ConnectionHealth.State.items() if number
}
_SHOP_COLUMNS = ("SHOP ID", "SHOP", "NAME", "MERCHANT", "CONNECTION", "NEXT SYNC")
_SCHEDULE_FIELDS = ("incremental_interval", "full_interval", "paused")


@click.group()
def shops() -> None:
    """Register, list, show, update and delete shops.

    SHOP is written platform:domain; show, update and delete also take the shop's id.
    """


shops.add_command(delete)
shops.add_command(delete, "remove")


@shops.command()
@click.argument("shop", type=SHOP)
@click.option("--merchant", default="", metavar="ID", help="Your id of the merchant that owns the shop.")
@click.option(
    "--name", default="", metavar="TEXT", help="Your name of the shop. [default: its name on the platform]"
)
@command_options
def register(shop: ShopName, merchant: str, name: str) -> ExitCode:
    """Register SHOP without starting a sync.

    A registered shop stays as it is; it is an error if it is not registered for this merchant.
    """
    request = RegisterShopRequest(
        platform=shop.platform, domain=shop.domain, merchant_id=merchant, display_name=name
    )

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            return _print_details(await client.register_shop(request), options)

    return run(work(current_options()), current_options())


@shops.command(name="list")
@click.option("--merchant", default="", metavar="ID", help="List only shops of this merchant.")
@click.option("--platform", default="", metavar="NAME", help="List only shops on this platform.")
@click.option(
    "--state",
    type=click.Choice(tuple(_STATES), case_sensitive=False),
    help="List only shops whose connection is in this state.",
)
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of shops to list.")
@command_options
def list_(merchant: str, platform: str, state: str | None, limit: int) -> ExitCode:
    """List registered shops that match all filters."""
    request = ListShopsRequest(
        merchant_id=merchant,
        platform=platform,
        connection_state=_STATES[state] if state else ConnectionHealth.STATE_UNSPECIFIED,
    )
    return run(_list(request, limit, current_options()), current_options())


async def _list(request: ListShopsRequest, limit: int, options: Options) -> ExitCode:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[ShopDetails], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_shops(request)
            return page.shops, page.next_page_token

        listing = Listing(
            fetch=fetch,
            max_page_size=_MAX_PAGE_SIZE,
            columns=_SHOP_COLUMNS,
            row=_shop_row,
            more_columns=("CURRENCY", "REGISTERED", "PLATFORM ID", "ANALYZERS"),
            more_cells=_more_shop_cells,
        )
        return await listing.print(limit, output=options.output)


def _shop_row(details: ShopDetails) -> tuple[str, ...]:
    shop = details.shop
    return (
        shop.shop_id,
        str(ShopName.of(shop)),
        shop.display_name,
        shop.merchant_id,
        connection_state(details.connection),
        next_sync_text(details.schedule),
    )


def _more_shop_cells(details: ShopDetails) -> tuple[str, ...]:
    shop = details.shop
    return (
        shop.currency_code or "-",
        time_text(details, "create_time"),
        shop.platform_shop_id or "-",
        ", ".join(details.analyzers) or "-",
    )


@shops.command()
@click.argument("shop", type=SHOP_REF)
@command_options
def show(shop: ShopRef) -> ExitCode:
    """Show SHOP with its connection, its schedule, its analyzers, and other domains of the same store."""

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            return _print_details(await client.get_shop(shop), options)

    return run(work(current_options()), current_options())


@shops.command()
@click.argument("shop", type=SHOP_REF)
@click.option("--merchant", metavar="ID", help='Set your id of the merchant that owns the shop; "": none.')
@click.option("--name", metavar="TEXT", help='Set your name of the shop; "": its name on the platform.')
@click.option(
    "--analyzer",
    "analyzers",
    multiple=True,
    metavar="NAME",
    help='Switch this analyzer of images on, and those off that are not given; may be repeated; "": none.',
)
@command_options
def update(shop: ShopRef, merchant: str | None, name: str | None, analyzers: tuple[str, ...]) -> ExitCode:
    """Change the merchant, the name or the analyzers of SHOP.

    What is not given stays unchanged. The schedule is changed by the command schedule.
    """
    given = {"merchant_id": merchant, "display_name": name, "analyzers": analyzers or None}
    paths = [path for path, value in given.items() if value is not None]
    if not paths:
        raise click.UsageError("give --merchant, --name or --analyzer")
    if "" in analyzers and len(analyzers) > 1:
        raise click.UsageError('--analyzer "" excludes other analyzers')
    update = ShopUpdate(
        merchant_id=merchant or "", display_name=name or "", analyzers=[each for each in analyzers if each]
    )
    request = UpdateShopRequest(shop=shop, update=update, update_mask=FieldMask(paths=paths))

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            return _print_details(await client.update_shop(request), options)

    return run(work(current_options()), current_options())


def _print_details(details: ShopDetails, options: Options) -> ExitCode:
    if options.json:
        print_json(details)
    else:
        print_fields(make_console(), details_fields(details))
    return ExitCode.OK


class IntervalParam(click.ParamType[timedelta]):
    """A click parameter type for durations such as 15m, or "never"."""

    name = "interval"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the parsed duration, zero for "never", or fail with a usage error."""
        try:
            return parse_duration("0" if value == "never" else value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}, or never", param, ctx)


INTERVAL = IntervalParam()


@click.command()
@click.argument("shop", type=SHOP)
@click.option(
    "--incremental-every", type=INTERVAL, metavar="15m", help='Set the incremental interval; "never" disables it.'
)
@click.option("--full-every", type=INTERVAL, metavar="24h", help='Set the full interval; "never" disables it.')
@click.option("--pause", is_flag=True, help="Pause scheduled syncs.")
@click.option("--resume", is_flag=True, help="Resume scheduled syncs.")
@click.option("--reset", is_flag=True, help="Reset what is not given here to the server's defaults.")
@command_options
def schedule(
    shop: ShopName,
    incremental_every: timedelta | None,
    full_every: timedelta | None,
    pause: bool,
    resume: bool,
    reset: bool,
) -> ExitCode:
    """Show or change the schedule of SHOP.

    Shows the schedule if no option is given. Settings that are not given stay unchanged.
    """
    if pause and resume:
        raise click.UsageError("--pause and --resume exclude each other")
    given = {
        "incremental_interval": incremental_every is not None,
        "full_interval": full_every is not None,
        "paused": pause or resume,
    }
    request = UpdateShopRequest(
        shop=shop.for_catalog(),
        update=ShopUpdate(
            incremental_interval=_to_proto(incremental_every), full_interval=_to_proto(full_every), paused=pause
        ),
        update_mask=FieldMask(paths=[path for path in _SCHEDULE_FIELDS if reset or given[path]]),
    )
    return run(_schedule(shop, request, current_options()), current_options())


async def _schedule(shop: ShopName, request: UpdateShopRequest, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        if request.update_mask.paths:
            details = await client.update_shop(request)
        else:
            details = await client.get_shop(request.shop)
    if options.json:
        print_json(details.schedule)
    else:
        print_fields(make_console(), [("Shop", str(shop)), *schedule_fields(details.schedule)])
    return ExitCode.OK


def _to_proto(value: timedelta | None) -> Duration | None:
    if value is None:
        return None
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
