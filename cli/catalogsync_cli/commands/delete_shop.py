"""The command `shops delete`, also named `shops remove`: says what will be deleted, asks, deletes, follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import click
from catalogsync.catalog.v1.catalog_service_pb2 import GetStatusResponse, ShopDeletion, ShopDetails, ShopRef
from catalogsync_client import CatalogClient, ShopName

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.commands.shop_fields import deletion_fields
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import plural, sanitize, utc_now
from catalogsync_cli.output import make_console, print_fields, print_json, print_notice
from catalogsync_cli.shop import SHOP_REF

_POLL_INTERVAL_SECONDS: Final = 1.0


@click.command()
@click.argument("shop", type=SHOP_REF)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--wait", is_flag=True, help="Wait until the last row is deleted.")
@click.option("--watch", is_flag=True, help="Wait, and print what is deleted so far.")
@command_options
def delete(shop: ShopRef, yes: bool, wait: bool, watch: bool) -> ExitCode:
    """Delete SHOP, its syncs and everything that is stored of it.

    Says what is stored, and asks for the domain of the shop. Cancels its active sync. The shop itself on its
    platform is not changed, and connector_svc keeps its credentials: remove them from its credentials file or its
    Token Service.

    Repeat the command to see the progress, up to a week after the end.
    """
    options = current_options()
    if not yes:
        code, shop = _confirm(shop, options)
        if code is not ExitCode.OK:
            return code
    return run(_delete(shop, options, wait=wait or watch, watch=watch), options)


def _confirm(shop: ShopRef, options: Options) -> tuple[ExitCode, ShopRef]:
    """Say what will be deleted and ask for the domain; return OK and the shop's id if it was typed.

    Raises:
        click.Abort: something else was typed.
    """
    stored: list[tuple[ShopDetails, GetStatusResponse]] = []

    async def read() -> ExitCode:
        async with open_catalog(options) as client:
            details = await client.get_shop(shop)
            by_id = ShopRef(shop_id=details.shop.shop_id)
            stored.append((details, await client.get_status(by_id)))
        return ExitCode.OK

    # The question is asked outside of the event loop, which would hold Ctrl-C back.
    code = run(read(), options)
    if code is not ExitCode.OK:
        return code, shop
    ((details, status),) = stored
    print_notice(_what_is_deleted(details, status))
    domain = details.shop.domain
    typed = click.prompt(f"Type {sanitize(domain)} to delete it", default="", show_default=False, err=True)
    if typed.strip().lower() != domain.lower():
        print_notice("This is not the domain of the shop; nothing was deleted.")
        raise click.Abort
    return ExitCode.OK, ShopRef(shop_id=details.shop.shop_id)


def _what_is_deleted(details: ShopDetails, status: GetStatusResponse) -> str:
    shop = details.shop
    owner = f" of merchant {shop.merchant_id}" if shop.merchant_id else ""
    active = (
        f" Its active sync {status.active_sync.sync_id} is cancelled." if status.HasField("active_sync") else ""
    )
    return sanitize(
        f"This deletes {ShopName.of(shop)}{owner} (shop id {shop.shop_id}) from the catalog for good: "
        f"{plural(status.product_count, 'product')}, {plural(status.item_count, 'item')}, all of its syncs and "
        f"their issues, its schedule, and the analyses of its images.{active} The shop itself on its platform and "
        "its credentials in connector_svc stay."
    )


async def _delete(shop: ShopRef, options: Options, *, wait: bool, watch: bool) -> ExitCode:
    async with open_catalog(options) as client:
        deletion = ShopDeletion()
        async for deletion in _progress(client, shop, wait=wait):
            if watch and not deletion.HasField("end_time"):
                _print_progress(deletion, options)
    _print_deletion(deletion, options)
    return ExitCode.OK


async def _progress(client: CatalogClient, shop: ShopRef, *, wait: bool) -> AsyncIterator[ShopDeletion]:
    """Begin the deletion and yield its state; with `wait`, each changed one until its end."""
    deletion = await client.delete_shop(shop)
    yield deletion
    # By its id: after the end another shop may be registered under the same name.
    by_id = ShopRef(shop_id=deletion.shop.shop_id)
    while wait and not deletion.HasField("end_time"):
        await asyncio.sleep(_POLL_INTERVAL_SECONDS)
        last, deletion = deletion, await client.delete_shop(by_id)
        if deletion != last:
            yield deletion


def _print_progress(deletion: ShopDeletion, options: Options) -> None:
    if options.json:
        print_json(deletion)
        return
    counts = (
        (deletion.product_count, "product"),
        (deletion.item_count, "item"),
        (deletion.sync_count, "sync"),
        (deletion.issue_count, "issue"),
    )
    text = ", ".join(plural(count, noun) for count, noun in counts)
    print(f"{utc_now():%H:%M:%S} deleted so far: {text}", flush=True)


def _print_deletion(deletion: ShopDeletion, options: Options) -> None:
    if options.json:
        print_json(deletion)
        return
    print_fields(make_console(), deletion_fields(deletion))
    if not deletion.HasField("end_time"):
        command = f"catalogsync{options.catalog_hint} shops delete {deletion.shop.shop_id} --yes --watch"
        print_notice(f"Follow the progress: {command}")
