"""The commands `webhooks list|ensure`: show and repair the webhooks of a shop on its platform."""

from __future__ import annotations

from collections.abc import Sequence

import click
from catalogsync.connector.v1.connector_service_pb2 import WebhookSubscription
from catalogsync_client import ShopName

from catalogsync_cli.client import open_connector
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import enum_name
from catalogsync_cli.output import make_console, print_json, print_notice, print_table
from catalogsync_cli.shop import SHOP

_COLUMNS = ("TOPIC", "STATE", "CHANGED", "ID", "ADDRESS")


@click.group()
def webhooks() -> None:
    """List and repair the webhooks of a shop."""


@webhooks.command("list")
@click.argument("shop", type=SHOP)
@command_options
def list_webhooks(shop: ShopName) -> ExitCode:
    """List the webhooks that SHOP needs, and whether they work."""

    async def work(options: Options) -> ExitCode:
        async with open_connector(options) as client:
            return _print((await client.check_shop(shop)).webhooks, options)

    return run(work(current_options()), current_options())


@webhooks.command()
@click.argument("shop", type=SHOP)
@click.argument("address", metavar="URL")
@command_options
def ensure(shop: ShopName, address: str) -> ExitCode:
    """Create missing webhooks of SHOP that deliver to URL, and enable disabled ones.

    URL is the https address of your service that passes deliveries on to IngestWebhook. Webhooks with other
    addresses are not changed. The credentials of the shop must have webhook_secrets.
    """

    async def work(options: Options) -> ExitCode:
        async with open_connector(options) as client:
            return _print(await client.ensure_webhooks(shop, address), options)

    return run(work(current_options()), current_options())


def _print(found: Sequence[WebhookSubscription], options: Options) -> ExitCode:
    if options.json:
        for webhook in found:
            print_json(webhook)
    elif found:
        print_table(make_console(), _COLUMNS, [_row(webhook) for webhook in found])
    else:
        print_notice("The platform of this shop sends no webhooks.")
    return ExitCode.OK


def _row(webhook: WebhookSubscription) -> tuple[str, ...]:
    return (
        webhook.topic,
        enum_name(WebhookSubscription.State.Name, webhook.state, "STATE_"),
        "yes" if webhook.changed else "no",
        webhook.id or "-",
        webhook.address or "-",
    )
