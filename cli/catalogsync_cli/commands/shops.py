"""What is asked of a shop as a whole: can it be read, how does it stand; and which platforms there are."""

from __future__ import annotations

import click
from catalogsync.catalog.v1.catalog_service_pb2 import ConnectionHealth, GetStatusResponse
from catalogsync.connector.v1.connector_service_pb2 import CheckShopResponse, Platform

from catalogsync_cli.client import open_catalog, open_connector
from catalogsync_cli.commands.schedules import schedule_facts
from catalogsync_cli.exits import Exit
from catalogsync_cli.options import Options, current, options_of_command
from catalogsync_cli.output import make_console, print_facts, print_json, print_table, time_text
from catalogsync_cli.running import run
from catalogsync_cli.shop import SHOP, ShopName
from catalogsync_cli.wording import enum_name, local_now, outcome_text, plain_text


@click.command()
@click.argument("shop", type=SHOP)
@options_of_command
def check(shop: ShopName) -> Exit:
    """Check whether SHOP can be read.

    Asks the platform: credentials, permissions, counts.
    """
    return run(_check(shop, current()), current())


async def _check(shop: ShopName, options: Options) -> Exit:
    async with open_connector(options) as client:
        answer = await client.check_shop(shop)
    if options.json:
        print_json(answer)
    else:
        print_facts(make_console(), _check_facts(shop, answer))
    return Exit.OK


def _check_facts(shop: ShopName, answer: CheckShopResponse) -> list[tuple[str, str]]:
    return [
        ("Shop", f"{shop} can be read"),
        ("Name", answer.shop_name),
        ("Platform's id", answer.platform_shop_id),
        ("Currency", answer.currency_code),
        ("Products", f"{answer.product_count:,}" if answer.HasField("product_count") else ""),
        ("Items", f"{answer.item_count:,}" if answer.HasField("item_count") else ""),
        ("API version", answer.served_api_version),
        ("Permissions", ", ".join(answer.granted_scopes)),
        *(("Note", note) for note in answer.notes),
    ]


@click.command()
@options_of_command
def platforms() -> Exit:
    """List the supported platforms."""
    return run(_platforms(current()), current())


async def _platforms(options: Options) -> Exit:
    async with open_connector(options) as client:
        answer = await client.list_platforms()
    if options.json:
        print_json(answer)
    else:
        columns = ("NAME", "PLATFORM", "CAN", "DOMAINS")
        print_table(make_console(), columns, [_platform_row(platform) for platform in answer.platforms])
    return Exit.OK


def _platform_row(platform: Platform) -> tuple[str, str, str, str]:
    can = platform.capabilities
    told = {"incremental": can.incremental, "bulk": can.bulk, "deletions": can.deletions}
    abilities = ", ".join(name for name, able in told.items() if able) or "full reads only"
    return platform.name, platform.display_name, abilities, platform.domain_pattern


@click.command()
@click.argument("shop", type=SHOP)
@options_of_command
def status(shop: ShopName) -> Exit:
    """Show the state of SHOP.

    Counts, freshness, connection, its last and its active sync.
    """
    return run(_status(shop, current()), current())


async def _status(shop: ShopName, options: Options) -> Exit:
    async with open_catalog(options) as client:
        answer = await client.get_status(shop)
    if options.json:
        print_json(answer)
    else:
        print_facts(make_console(), status_facts(answer))
    return Exit.OK


def status_facts(answer: GetStatusResponse) -> list[tuple[str, str]]:
    """How a shop stands, as name and value."""
    shop = answer.shop
    analysed = f", {answer.analysed_item_count:,} analysed" if answer.HasField("analysed_item_count") else ""
    return [
        ("Shop", str(ShopName.of(shop))),
        ("Name", shop.display_name),
        ("Currency", shop.currency_code),
        ("Products", f"{answer.product_count:,}"),
        ("Items", f"{answer.item_count:,}, {answer.item_with_image_count:,} with an image{analysed}"),
        ("Fresh as of", time_text(answer, "fresh_as_of_time") or "never complete yet"),
        ("Fully read as of", time_text(answer, "full_as_of_time") or "never yet"),
        *(("Note", note) for note in answer.notes),
        ("Connection", _connection_text(answer.connection)),
        *schedule_facts(answer.schedule),
        ("Last sync", _last_sync_text(answer)),
        ("Running sync", _active_sync_text(answer)),
    ]


def _last_sync_text(answer: GetStatusResponse) -> str:
    if not answer.HasField("last_finished_sync"):
        return "none"
    sync = answer.last_finished_sync
    return f"{sync.sync_id}: {outcome_text(sync)}"


def _active_sync_text(answer: GetStatusResponse) -> str:
    if not answer.HasField("active_sync"):
        return ""
    return f"{answer.active_sync.sync_id}: {plain_text(answer.active_sync, local_now())}"


def _connection_text(connection: ConnectionHealth) -> str:
    if connection.state == ConnectionHealth.STATE_UNSPECIFIED:
        return "not known before the first sync has ended"
    state = enum_name(ConnectionHealth.State.Name, connection.state, "STATE_")
    told = f"{connection.message} [{connection.reason}]" if connection.reason else connection.message
    return f"{state}: {told}" if told else state
