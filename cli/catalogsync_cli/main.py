"""The top-level command. The entry point is `catalogsync_cli.__main__`."""

from __future__ import annotations

import json
import sys
from typing import NoReturn

import click

from catalogsync_cli.command import group_options
from catalogsync_cli.commands.items import item, items
from catalogsync_cli.commands.manage_shops import schedule, shops
from catalogsync_cli.commands.products import product, products
from catalogsync_cli.commands.shops import check, platforms, status
from catalogsync_cli.commands.syncs import sync
from catalogsync_cli.commands.token import token
from catalogsync_cli.commands.verify import verify
from catalogsync_cli.commands.webhooks import webhooks
from catalogsync_cli.exit_codes import HELP, ExitCode
from catalogsync_cli.output import print_notice

EPILOG = f"""\b
SHOP is written platform:domain, e.g. shopify:demo.myshopify.com or
woocommerce:store.example. The options above may also follow the command.

\b
--json prints protobuf's JSON: lowerCamelCase names, 64-bit numbers as
strings, times as RFC 3339, null for absent fields. One document on
standard output; lists and watched syncs print one document per line.
Errors are {{"error": ...}} on standard error.

{HELP}"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="catalogsync-cli")
@group_options
def catalogsync() -> None:
    """Sync product catalogs from e-commerce platforms and show stored items."""


for _command in (
    check,
    platforms,
    shops,
    sync,
    schedule,
    status,
    verify,
    products,
    product,
    items,
    item,
    token,
    webhooks,
):
    catalogsync.add_command(_command)


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    sys.exit(int(_exit_code(catalogsync, sys.argv[1:])))


def _exit_code(command: click.Command, arguments: list[str]) -> ExitCode | int:
    try:
        return command.main(arguments, prog_name="catalogsync", standalone_mode=False) or ExitCode.OK
    except click.ClickException as error:
        _print_usage_error(error, as_json="--json" in arguments)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as error:
        print_notice(f"Error: internal error: {type(error).__name__} [INTERNAL]; please report it")
        return ExitCode.INTERNAL


def _print_usage_error(error: click.ClickException, *, as_json: bool) -> None:
    if not as_json:
        error.show()
        return
    document = {
        "code": "INVALID_ARGUMENT",
        "reason": "USAGE",
        "message": error.format_message(),
        "metadata": {},
        "exitCode": int(ExitCode.USAGE),
    }
    print_notice(json.dumps({"error": document}, ensure_ascii=False))
