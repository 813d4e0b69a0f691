"""The command `verify`: compares stored products with the platform, and repairs what differs."""

from __future__ import annotations

from contextlib import aclosing

import click
from catalogsync.catalog.v1.catalog_service_pb2 import AuditDifference, AuditProgress, CatalogAudit
from catalogsync_client import ShopName
from rich.console import Console

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.output import make_console, print_fields, print_json, print_table, short_time_text, time_text
from catalogsync_cli.shop import SHOP

_COLUMNS = ("PRODUCT", "ITEM", "DIFFERENCE", "CAUSE", "STORED VALUE", "FOUND VALUE", "STORED", "CHANGED")
_DEFAULT_SAMPLE = 200
_MAX_SAMPLE = 1_000


@click.command()
@click.argument("shop", type=SHOP)
@click.option(
    "--sample",
    type=click.IntRange(1, _MAX_SAMPLE),
    default=_DEFAULT_SAMPLE,
    show_default=True,
    help="Products to choose at random.",
)
@command_options
def verify(shop: ShopName, sample: int) -> ExitCode:
    """Verify the stored products of SHOP.

    Reads a random sample, and the products that changed within the last hour, from the platform, compares every
    field and repairs what differs. DRIFT: the catalog was wrong. BEHIND: changed since the last sync. UNDATED: the
    platform does not date the change.

    The exit code is 1 if there was drift, or if rows of products are gone.
    """
    return run(_verify(shop, sample, current_options()), current_options())


async def _verify(shop: ShopName, sample: int, options: Options) -> ExitCode:
    audit = CatalogAudit()
    async with open_catalog(options) as client:
        # Draws on a terminal only.
        with Console(stderr=True).status("Reading a sample...") as status:
            async with aclosing(client.verify_catalog(shop, sample_size=sample)) as events:
                async for event in events:
                    if isinstance(event, CatalogAudit):
                        audit = event
                    else:
                        status.update(_progress_text(event))
    if options.json:
        print_json(audit)
    else:
        _print(shop, audit)
    return ExitCode.FAILED if audit.drifted_product_count or audit.missing_row_count else ExitCode.OK


def _progress_text(progress: AuditProgress) -> str:
    return f"{progress.checked_product_count:,} of {progress.product_count:,} products compared..."


def _print(shop: ShopName, audit: CatalogAudit) -> None:
    console = make_console()
    if audit.differences:
        rows = [_row(difference) for difference in audit.differences]
        print_table(console, _COLUMNS, rows, short_rows=[_row(d, short=True) for d in audit.differences])
        console.print()
    print_fields(console, _fields(shop, audit))


def _row(difference: AuditDifference, *, short: bool = False) -> list[str]:
    time = short_time_text if short else time_text
    kind = AuditDifference.Kind.Name(difference.kind).removeprefix("KIND_").lower()
    return [
        difference.product_id,
        difference.item_id,
        difference.field or kind,
        AuditDifference.Cause.Name(difference.cause).removeprefix("CAUSE_"),
        difference.stored_value,
        difference.found_value,
        time(difference, "stored_time"),
        time(difference, "source_update_time"),
    ]


def _fields(shop: ShopName, audit: CatalogAudit) -> list[tuple[str, str]]:
    def count(value: int) -> str:
        return f"{value:,}" if value else ""

    missing = count(audit.missing_row_count)
    return [
        ("Shop", str(shop)),
        ("Compared", f"{audit.checked_product_count:,} products, {audit.checked_item_count:,} items"),
        ("Drift", f"{audit.drifted_product_count:,} products"),
        ("Behind", f"{audit.behind_product_count:,} products"),
        ("Undated", f"{audit.undated_product_count:,} products"),
        ("Different items", count(audit.different_item_count)),
        ("Repaired", f"{audit.repaired_product_count:,} products"),
        ("Rejected", count(audit.rejected_product_count)),
        ("Not compared", count(audit.undecided_product_count)),
        ("Missing", f"rows of {missing} products; a full sync was requested" if missing else ""),
    ]
