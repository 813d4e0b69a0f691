"""The command line as a whole."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from catalogsync_cli.commands.items import item, items
from catalogsync_cli.commands.schedules import schedule
from catalogsync_cli.commands.shops import check, platforms, status
from catalogsync_cli.commands.syncs import sync
from catalogsync_cli.exits import HELP
from catalogsync_cli.options import options_of_group
from catalogsync_cli.running import finish

EPILOG = f"""\b
SHOP is written platform:domain, e.g. shopify:demo.myshopify.com or
woocommerce:store.example. The options above may also follow the command.

\b
--json prints protobuf's JSON: lowerCamelCase names, 64-bit numbers as
strings, times as RFC 3339, null for what is absent. One document on
standard output; lists and watched syncs are one document a line. Errors
are {{"error": ...}} on standard error.

{HELP}"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="catalogsync")
@options_of_group
def catalogsync() -> None:
    """Sync product catalogs from e-commerce platforms, and show what is stored."""


for _command in (check, platforms, sync, schedule, status, items, item):
    catalogsync.add_command(_command)


def main() -> NoReturn:
    """What the installed script runs."""
    # gRPC's core writes its own remarks to standard error, where scripts read our errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    finish(catalogsync, sys.argv[1:])
