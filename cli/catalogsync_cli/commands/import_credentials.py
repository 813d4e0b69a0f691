"""The command `import-credentials`: credentials of an older installation into connector_svc's file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from catalogsync_client import CatalogSyncError, ShopName

from catalogsync_cli.client import open_connector
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.credentials.file import Change, FileInvalid, Merge, merge, write
from catalogsync_cli.credentials.records import Export, ExportInvalid, InputFormat, guess_format, read_export
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import sanitize
from catalogsync_cli.output import make_console, print_notice, print_table

_COLUMNS: Final = ("SHOP", "KEYS", "RESULT")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Result:
    """What became of the credentials of one shop."""

    shop: ShopName
    keys: Sequence[str]
    """Their names."""
    result: str
    """A `Change`; after a check "accepted", or why the shop cannot be read."""


@click.command("import-credentials")
@click.argument("source", metavar="EXPORT", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--credentials-file",
    envvar="CONNECTOR_CREDENTIALS_FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file of connector_svc to merge into. [env: CONNECTOR_CREDENTIALS_FILE]",
)
@click.option(
    "--format",
    "input_format",
    type=click.Choice(InputFormat, case_sensitive=False),
    help="Format of EXPORT. [default: by its name]",
)
@click.option(
    "--rename",
    "renamed",
    multiple=True,
    metavar="OLD=NEW",
    help="Read the column or key OLD as NEW, such as api_password=access_token; may be repeated.",
)
@click.option("--replace", is_flag=True, help="Replace other credentials that the file has for a shop.")
@click.option(
    "--check", is_flag=True, help="Ask connector_svc, which reads the file, whether each shop can be read."
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@command_options
def import_credentials(
    source: Path,
    credentials_file: Path,
    input_format: InputFormat | None,
    renamed: tuple[str, ...],
    replace: bool,
    check: bool,
    dry_run: bool,
) -> ExitCode:
    """Import the credentials of an older installation.

    EXPORT is a file, or - for standard input: a CSV with a header, JSON, or variables. A record has platform,
    domain, and the keys of the platform: access_token (shopify, bigcommerce), consumer_key and consumer_secret
    (woocommerce), feed_secret (feed), and webhook_secrets.
    Unless all records are valid, nothing is written. Values are never printed.

    The file is replaced at once, with mode 0600; what is in it stays, comments as well.
    """
    if check and dry_run:
        raise click.UsageError("--check and --dry-run exclude each other")
    found_format = input_format or guess_format(source)
    if found_format is None:
        raise click.UsageError("give --format csv, json or env: the name of the file does not say it")
    try:
        export = read_export(_read(source), found_format, renamed=_renamed(renamed))
        merged = merge(credentials_file, export.shops, replace=replace)
    except (ExportInvalid, FileInvalid) as error:
        raise click.ClickException(f"nothing was imported:\n{error}") from None
    if export.ignored_names:
        print_notice(f"Ignored, since they are no credentials: {sanitize(', '.join(export.ignored_names))}.")
    options = current_options()
    different = [shop for shop, change in merged.changes.items() if change is Change.DIFFERENT]
    if different:
        _print(_results(export, merged), options)
        print_notice("Nothing was written: the file has other credentials of these shops; see --replace.")
        return ExitCode.CONFLICT
    if not dry_run:
        _write(credentials_file, merged)
    if check:
        return run(_check(export, options), options)
    _print(_results(export, merged), options)
    print_notice(f"{'Would write' if dry_run else 'Wrote'} {credentials_file}.")
    return ExitCode.OK


def _read(source: Path) -> str:
    try:
        content = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{source} is not UTF-8") from None
    except OSError as error:
        raise click.FileError(str(source), error.strerror or "cannot be read") from None


def _renamed(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise click.UsageError("--rename needs OLD=NEW")
        found[old] = new
    return found


def _write(file: Path, merged: Merge) -> None:
    try:
        write(file, merged)
    except OSError as error:
        raise click.FileError(str(file), error.strerror or "cannot be written") from None


async def _check(export: Export, options: Options) -> ExitCode:
    """Ask connector_svc about each shop; it reads the changed file before the next call."""
    results, code = [], ExitCode.OK
    async with open_connector(options) as client:
        for one in export.shops:
            try:
                await client.check_shop(one.shop)
                result = "accepted"
            except CatalogSyncError as error:
                if not error.reason:
                    raise
                result, code = f"{sanitize(error.message)} [{sanitize(error.reason)}]", ExitCode.FAILED
            results.append(_Result(shop=one.shop, keys=sorted(one.keys), result=result))
    _print(results, options)
    return code


def _results(export: Export, merged: Merge) -> list[_Result]:
    return [_Result(shop=one.shop, keys=sorted(one.keys), result=merged.changes[one.shop]) for one in export.shops]


def _print(results: Sequence[_Result], options: Options) -> None:
    if options.json:
        for one in results:
            document = {"shop": str(one.shop), "keys": list(one.keys), "result": one.result}
            print(json.dumps(document, ensure_ascii=False), flush=True)
        return
    rows = [(str(one.shop), ", ".join(one.keys), one.result) for one in results]
    print_table(make_console(options.output), _COLUMNS, rows)
