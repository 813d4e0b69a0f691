"""The command `export`: all items of a shop in a file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ListItemsRequest
from catalogsync_client import CatalogClient, ShopName

from catalogsync_cli.atomic_file import replaced_file
from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.export.formats import ExportFailed, ExportFormat, RowWriter, open_writer
from catalogsync_cli.export.rows import row_of
from catalogsync_cli.formatting import plural
from catalogsync_cli.output import print_notice
from catalogsync_cli.shop import SHOP

_PAGE_SIZE: Final = 1_000


@click.command()
@click.argument("shop", type=SHOP)
@click.option(
    "--format",
    "export_format",
    type=click.Choice(ExportFormat, case_sensitive=False),
    default=ExportFormat.NDJSON,
    show_default=True,
    help="Format of the file; parquet needs catalogsync-cli[parquet].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; it is replaced when it is complete. [default: standard output]",
)
@click.option("--deleted", is_flag=True, help="Include deleted items.")
@click.option(
    "--spreadsheet",
    is_flag=True,
    help="CSV for spreadsheet programs: with a byte order mark, and formulas made harmless.",
)
@command_options
def export(
    shop: ShopName, export_format: ExportFormat, out: Path | None, deleted: bool, spreadsheet: bool
) -> ExitCode:
    """Export all items of SHOP, ordered by product and item.

    Each item is written once, in its state when its page was read. Decimals are exact, times are in UTC.
    """
    if spreadsheet and export_format is not ExportFormat.CSV:
        raise click.UsageError("--spreadsheet needs --format csv")
    if out is None and export_format is ExportFormat.PARQUET:
        raise click.UsageError("--format parquet needs --out")
    request = ListItemsRequest(shop=shop.for_catalog(), page_size=_PAGE_SIZE, include_deleted=deleted)

    async def work(options: Options) -> ExitCode:
        with _open(out) as file:
            writer = open_writer(export_format, file, spreadsheet=spreadsheet)
            async with open_catalog(options) as client:
                count = await _write(client, request, writer)
        print_notice(f"Exported {plural(count, 'item')} of {shop}{f' to {out}' if out else ''}.")
        return ExitCode.OK

    try:
        return run(work(current_options()), current_options())
    except ExportFailed as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.FileError(str(out or "standard output"), error.strerror or "cannot be written") from None


async def _write(client: CatalogClient, request: ListItemsRequest, writer: RowWriter) -> int:
    """Write all items and return their number. The service reads a page while the one before it is written."""
    count = 0
    page = await client.list_items(request)
    while True:
        following = None
        if page.next_page_token:
            request.page_token = page.next_page_token
            following = asyncio.create_task(client.list_items(request))
        try:
            # In a thread: the event loop must send the request meanwhile.
            await asyncio.to_thread(_write_rows, writer, page.items)
        except BaseException:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            raise
        count += len(page.items)
        if following is None:
            break
        page = await following
    writer.finish()
    return count


def _write_rows(writer: RowWriter, items: Sequence[Item]) -> None:
    writer.write([row_of(item) for item in items])


@contextmanager
def _open(out: Path | None) -> Iterator[BinaryIO]:
    """Yield standard output, or a file that replaces `out` at the end, if nothing failed."""
    if out is not None:
        with replaced_file(out) as file:
            yield file
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()
