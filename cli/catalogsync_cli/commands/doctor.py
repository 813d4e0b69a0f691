"""The command `doctor`: its own checks, and those of the services that are installed and configured here."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
from catalogsync_client import ShopName
from catalogsync_common.diagnosis import Finding, Findings, Outcome
from rich.text import Text

from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.doctor_checks import check_client
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import sanitize
from catalogsync_cli.output import make_console
from catalogsync_cli.shop import SHOP

_SERVICES: Final = {"catalog_svc": "CATALOG_", "connector_svc": "CONNECTOR_"}
"""The modules of the services, and the prefixes of their settings."""
_STYLES: Final = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.FAILED: "red", Outcome.SKIPPED: "dim"}


@click.command()
@click.argument("shops", type=SHOP, nargs=-1, metavar="[SHOP]...")
@command_options
def doctor(shops: tuple[ShopName, ...]) -> ExitCode:
    """Check an installation and say what is wrong.

    Checks settings, connections, certificates, tokens, clocks, the database, and the credentials of SHOPs. Prints
    one line per check, with what to do about what is wrong, and ends with code 1 if a check failed.

    Run it on the machine of a service, in the directory and with the environment of the service: then it checks
    its settings and the database as well, as `python -m catalog_svc doctor` and `python -m connector_svc doctor`
    do.
    """
    root = click.get_current_context().find_root().command
    known = frozenset(str(param.envvar) for param in root.params if param.envvar)
    return run(_doctor(shops, known, current_options()), current_options())


async def _doctor(shops: tuple[ShopName, ...], known_variables: frozenset[str], options: Options) -> ExitCode:
    counts = dict.fromkeys(Outcome, 0)
    async for finding in _findings(shops, known_variables, options):
        counts[finding.outcome] += 1
        _print(finding, options)
    if not options.json:
        text = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        make_console(options.output).print(text, markup=False, highlight=False)
    return ExitCode.FAILED if counts[Outcome.FAILED] else ExitCode.OK


async def _findings(
    shops: tuple[ShopName, ...], known_variables: frozenset[str], options: Options
) -> AsyncIterator[Finding]:
    async for finding in check_client(options, shops, known_variables=known_variables):
        yield finding
    for service, prefix in _SERVICES.items():
        async for finding in _of_service(service, prefix):
            yield finding


async def _of_service(service: str, prefix: str) -> AsyncIterator[Finding]:
    """Yield the findings of a service's own doctor, in a process: it needs packages that this program has not."""
    findings, command = Findings(service), f"`python -m {service} doctor`"
    if find_spec(service) is None:
        yield findings.skipped("settings", f"{service} is not installed here: run {command} on its machine")
        return
    if not _is_configured(prefix):
        yield findings.skipped(
            "settings",
            f"no {prefix}... variable is set here or in .env of this directory: run {command} where it runs",
        )
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", service, "doctor", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    for line in out.decode().splitlines():
        yield Finding.from_json(line)
    if process.returncode not in (0, 1):
        last = sanitize(" ".join(err.decode(errors="replace").splitlines()[-1:]))
        yield findings.failed("doctor", f"it ended with code {process.returncode}: {last}; please report it")


def _is_configured(prefix: str) -> bool:
    if any(name.upper().startswith(prefix) for name in os.environ):
        return True
    try:
        lines = Path(".env").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip().removeprefix("export ").upper().startswith(prefix) for line in lines)


def _print(finding: Finding, options: Options) -> None:
    if options.json:
        print(finding.to_json(), flush=True)
        return
    text = Text(sanitize(finding.to_text()))
    text.stylize(_STYLES[finding.outcome], 0, len(finding.outcome))
    make_console(options.output).print(text, soft_wrap=True)
