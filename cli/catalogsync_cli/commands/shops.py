"""Commands that show whether a shop can be read and what is stored of it: `check`, `status` and `platforms`."""

from __future__ import annotations

import click
from catalogsync.catalog.v1.catalog_service_pb2 import GetStatusResponse
from catalogsync.connector.v1.connector_service_pb2 import CheckShopResponse, Platform
from catalogsync_client import ShopName

from catalogsync_cli.analysis_text import counts_text
from catalogsync_cli.client import open_catalog, open_connector
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.commands.shop_fields import connection_text, schedule_fields
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import outcome_text, status_line, utc_now
from catalogsync_cli.output import make_console, print_fields, print_json, print_table, time_text
from catalogsync_cli.shop import SHOP

_PLATFORM_COLUMNS = ("NAME", "PLATFORM", "CAPABILITIES", "DOMAINS")


@click.command()
@click.argument("shop", type=SHOP)
@command_options
def check(shop: ShopName) -> ExitCode:
    """Check that SHOP can be read.

    Calls the platform to verify credentials and permissions, and counts products.
    """
    return run(_check(shop, current_options()), current_options())


async def _check(shop: ShopName, options: Options) -> ExitCode:
    async with open_connector(options) as client:
        response = await client.check_shop(shop)
    if options.json:
        print_json(response)
    else:
        print_fields(make_console(), _check_fields(shop, response))
    return ExitCode.OK


def _check_fields(shop: ShopName, response: CheckShopResponse) -> list[tuple[str, str]]:
    return [
        ("Shop", f"{shop} can be read"),
        ("Name", response.display_name),
        ("Platform's id", response.platform_shop_id),
        ("Currency", response.currency_code),
        ("Products", f"{response.product_count:,}" if response.HasField("product_count") else ""),
        ("Items", f"{response.variant_count:,}" if response.HasField("variant_count") else ""),
        ("API version", response.served_api_version),
        ("Permissions", ", ".join(response.granted_scopes)),
        *(("Note", note) for note in response.notes),
    ]


@click.command()
@command_options
def platforms() -> ExitCode:
    """List the supported platforms."""
    return run(_platforms(current_options()), current_options())


async def _platforms(options: Options) -> ExitCode:
    async with open_connector(options) as client:
        response = await client.list_platforms()
    if options.json:
        print_json(response)
    else:
        print_table(make_console(), _PLATFORM_COLUMNS, [_platform_row(each) for each in response.platforms])
    return ExitCode.OK


def _platform_row(platform: Platform) -> tuple[str, str, str, str]:
    supported = platform.capabilities
    flags = {"incremental": supported.incremental, "bulk": supported.bulk, "deletions": supported.deletions}
    flags["webhooks"] = supported.webhooks
    capabilities = ", ".join(name for name, enabled in flags.items() if enabled) or "full reads only"
    return platform.name, platform.display_name, capabilities, platform.domain_pattern


@click.command()
@click.argument("shop", type=SHOP)
@command_options
def status(shop: ShopName) -> ExitCode:
    """Show the status of SHOP.

    Shows item counts, freshness, connection health, schedule, and the last and active syncs.
    """
    return run(_status(shop, current_options()), current_options())


async def _status(shop: ShopName, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        response = await client.get_status(shop)
    if options.json:
        print_json(response)
    else:
        print_fields(make_console(), status_fields(response))
    return ExitCode.OK


def status_fields(response: GetStatusResponse) -> list[tuple[str, str]]:
    """Return the status of a shop as names and values."""
    shop = response.shop
    return [
        ("Shop", str(ShopName.of(shop))),
        ("Name", shop.display_name),
        ("Currency", shop.currency_code),
        ("Products", f"{response.product_count:,}"),
        ("Items", f"{response.item_count:,}, {response.item_with_image_count:,} with an image"),
        ("Analysis", counts_text(response.analysis) if response.HasField("analysis") else ""),
        ("Up to date as of", time_text(response, "fresh_as_of_time") or "no complete sync yet"),
        ("Last full read as of", time_text(response, "full_as_of_time") or "no full sync yet"),
        *(("Note", note) for note in response.notes),
        ("Connection", connection_text(response.connection)),
        *schedule_fields(response.schedule),
        ("Last audit", _last_audit_text(response)),
        ("Last sync", _last_sync_text(response)),
        ("Active sync", _active_sync_text(response)),
    ]


def _last_audit_text(response: GetStatusResponse) -> str:
    if not response.HasField("last_audit"):
        return ""
    audit = response.last_audit
    found = f"{audit.drifted_product_count:,} of {audit.checked_product_count:,} products had drift"
    return f"{time_text(audit, 'end_time')}: {found}"


def _last_sync_text(response: GetStatusResponse) -> str:
    if not response.HasField("last_finished_sync"):
        return "none"
    sync = response.last_finished_sync
    return f"{sync.sync_id}: {outcome_text(sync)}"


def _active_sync_text(response: GetStatusResponse) -> str:
    if not response.HasField("active_sync"):
        return ""
    return f"{response.active_sync.sync_id}: {status_line(response.active_sync, utc_now())}"
