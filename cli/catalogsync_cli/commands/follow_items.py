"""The command `items follow`: print the items of a shop, and then each change."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import click
from catalogsync.catalog.v1.catalog_service_pb2 import WatchItemsResponse
from catalogsync_client import Disconnect, ShopName

from catalogsync_cli.atomic_file import replaced_file
from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import sanitize
from catalogsync_cli.item_text import item_row
from catalogsync_cli.output import print_json, print_notice
from catalogsync_cli.shop import SHOP


@click.command()
@click.argument("shop", type=SHOP)
@click.option("--after", default="", metavar="POSITION", help="Continue after this position of an earlier run.")
@click.option(
    "--position-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Continue after the position in this file, and write each new one to it. It need not exist.",
)
@click.option("--until-caught-up", is_flag=True, help="End once everything that is stored was printed.")
@command_options
def follow(shop: ShopName, after: str, position_file: Path | None, until_caught_up: bool) -> ExitCode:
    """Print all items of SHOP, then each change, until interrupted.

    Reconnects by itself. With --json, prints one document per message: its items, and the position after it.
    Whoever stores both in one transaction misses no change. After the error POSITION_EXPIRED, begin without a
    position, and remove the items that were not printed by the time `caughtUp` is true.
    """
    if after and position_file:
        raise click.UsageError("--after and --position-file exclude each other")
    position = _stored_position(position_file) if position_file else after

    async def work(options: Options) -> ExitCode:
        async with (
            open_catalog(options) as client,
            aclosing(
                client.watch_items(shop, after_position=position, on_connection=_print_connection)
            ) as messages,
        ):
            async for message in messages:
                _print(message, options)
                if position_file:
                    _store_position(position_file, message.position)
                if until_caught_up and message.caught_up:
                    return ExitCode.OK
        return ExitCode.OK

    return run(work(current_options()), current_options())


def _print(message: WatchItemsResponse, options: Options) -> None:
    if options.json:
        print_json(message)
        return
    for found in message.items:
        print("  ".join(sanitize(cell) for cell in item_row(found)), flush=True)


def _print_connection(disconnect: Disconnect | None) -> None:
    if disconnect is None:
        print_notice("Connected again.")
    else:
        reason = sanitize(disconnect.failure.message)
        print_notice(f"Connection lost: {reason}; next attempt in {disconnect.backoff_seconds:.0f} s.")


def _stored_position(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise click.FileError(str(file), error.strerror or "cannot be read") from error


def _store_position(file: Path, position: str) -> None:
    """Replace the file, so that a kill leaves either position."""
    with replaced_file(file) as new:
        new.write(f"{position}\n".encode())
