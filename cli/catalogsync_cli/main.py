"""The top-level command. The entry point is `catalogsync_cli.__main__`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NoReturn

import click

from catalogsync_cli.command import group_options
from catalogsync_cli.exit_codes import HELP, ExitCode
from catalogsync_cli.lazy_group import LazyGroup
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


_COMMANDS: Mapping[str, str] = {
    "analysis": "analysis:analysis",
    "check": "shops:check",
    "completion": "completion:completion",
    "context": "context:context",
    "doctor": "doctor:doctor",
    "export": "export:export",
    "import-credentials": "import_credentials:import_credentials",
    "item": "items:item",
    "items": "items:items",
    "platforms": "shops:platforms",
    "product": "products:product",
    "products": "products:products",
    "schedule": "manage_shops:schedule",
    "shops": "manage_shops:shops",
    "status": "shops:status",
    "sync": "syncs:sync",
    "token": "token:token",
    "top": "top:top",
    "verify": "verify:verify",
    "webhooks": "webhooks:webhooks",
}
"""Module below `catalogsync_cli.commands` and name of each command."""


@click.group(
    cls=LazyGroup,
    lazy_commands={name: f"catalogsync_cli.commands.{target}" for name, target in _COMMANDS.items()},
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="catalogsync-cli")
@group_options
def catalogsync() -> None:
    """Sync product catalogs from e-commerce platforms and show stored items."""


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    sys.exit(int(_exit_code(catalogsync, sys.argv[1:])))


def _exit_code(command: click.Command, arguments: list[str]) -> ExitCode | int:
    try:
        return command.main(arguments, prog_name="catalogsync", standalone_mode=False) or ExitCode.OK
    except click.ClickException as error:
        _print_usage_error(error, as_json=_wants_json(arguments))
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as error:
        print_notice(f"Error: internal error: {type(error).__name__} [INTERNAL]; please report it")
        return ExitCode.INTERNAL


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether the command line asks for JSON, although it cannot be parsed."""
    return os.environ.get("CATALOGSYNC_OUTPUT") == "json" or any(
        word in ("--json", "--output=json") or (before, word) == ("--output", "json")
        for before, word in pairwise(["", *arguments])
    )


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
