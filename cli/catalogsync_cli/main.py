"""The command line as a whole."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

import click

from catalogsync_cli.command import options_of_group
from catalogsync_cli.commands.items import item, items
from catalogsync_cli.commands.shops import check, platforms, schedule, status
from catalogsync_cli.commands.syncs import sync
from catalogsync_cli.exit_codes import HELP, Exit
from catalogsync_cli.output import say

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


def finish(command: click.Command, arguments: list[str]) -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    try:
        outcome = command.main(arguments, prog_name="catalogsync", standalone_mode=False)
    except click.ClickException as error:
        _tell_usage(error, as_json="--json" in arguments)
        outcome = Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        outcome = Exit.INTERRUPTED
    except Exception as error:
        say(f"Error: internal error: {type(error).__name__} [INTERNAL]; please report it")
        outcome = Exit.INTERNAL
    sys.exit(int(outcome or 0))


def _tell_usage(error: click.ClickException, *, as_json: bool) -> None:
    if not as_json:
        error.show()
        return
    document = {"code": "INVALID_ARGUMENT", "reason": "USAGE", "message": error.format_message()}
    say(json.dumps({"error": {**document, "metadata": {}, "exitCode": int(Exit.USAGE)}}, ensure_ascii=False))
