"""The options that every command takes: where the services are, who asks, how to answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import click
from catalogsync_common.call_context import correlated

from catalogsync_cli.errors import CallFailed, error_document, error_line
from catalogsync_cli.exit_codes import Exit, exit_of_failure
from catalogsync_cli.output import say

DEFAULT_CATALOG = "127.0.0.1:50051"
DEFAULT_CONNECTOR = "127.0.0.1:50052"
DEFAULT_TIMEOUT = 10.0
CHECK_TIMEOUT = 60.0

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What was said, on the command line or else in the environment."""

    catalog: str = DEFAULT_CATALOG
    connector: str = DEFAULT_CONNECTOR
    token: str = field(default="", repr=False)
    timeout: float | None = None
    """Seconds that one call may take; None: what fits the call."""
    json: bool = False

    @property
    def catalog_hint(self) -> str:
        """What a suggested command needs in order to ask the same catalog: " --catalog host:port" or nothing."""
        return "" if self.catalog == DEFAULT_CATALOG else f" --catalog {self.catalog}"


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keeps a value that was given; the nearest to the command wins over the group's and the environment's."""
    if value is None or value is False:
        return
    options: Options = ctx.obj or Options()
    ctx.obj = replace(options, **{str(param.name): value})


def _token(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    token = (value or "").strip()
    # grpc would put a value that it cannot send into its error; this message must not hold it.
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise click.BadParameter("the token holds characters that cannot be sent (it is not shown here)")
    _remember(ctx, param, token or None)


def options_of_group(command: F) -> F:
    """Declares the options with their environment variables and defaults, as the top command has them."""
    for decorate in reversed(_declared(hidden=False)):
        command = decorate(command)
    return command


def options_of_command(command: F) -> F:
    """Lets the same options be written after a command too."""
    for decorate in reversed(_declared(hidden=True)):
        command = decorate(command)
    return command


def current() -> Options:
    """The options of the running command."""
    options: Options | None = click.get_current_context().obj
    return options or Options()


def _declared(*, hidden: bool) -> list[Callable[[F], F]]:
    def option(name: str, env: str | None, text: str, **more: Any) -> Callable[[F], F]:
        # The environment is read at the top only, or it would win over an option of the top command.
        more = {"callback": _remember, "hidden": hidden, **more}
        return click.option(name, envvar=None if hidden else env, expose_value=False, help=text, **more)

    address = f"Address of catalog_svc. [default: {DEFAULT_CATALOG}; env: CATALOGSYNC_CATALOG]"
    connector = f"Address of connector_svc. [default: {DEFAULT_CONNECTOR}; env: CATALOGSYNC_CONNECTOR]"
    token = "Sent as bearer token; better from the environment. [env: CATALOGSYNC_TOKEN]"
    timeout = f"Seconds that one call may take. [default: {DEFAULT_TIMEOUT:.0f}; check: {CHECK_TIMEOUT:.0f}]"
    return [
        option("--catalog", "CATALOGSYNC_CATALOG", address, metavar="HOST:PORT"),
        option("--connector", "CATALOGSYNC_CONNECTOR", connector, metavar="HOST:PORT"),
        option("--token", "CATALOGSYNC_TOKEN", token, metavar="TOKEN", callback=_token),
        option("--timeout", None, timeout, type=click.FloatRange(min=0, min_open=True)),
        option("--json", None, "Answer in JSON, errors too.", is_flag=True, hidden=False),
    ]


def run(work: Coroutine[Any, Any, Exit], options: Options) -> Exit:
    """The exit code of `work`; a call that failed is told on standard error."""
    try:
        with correlated():
            code = asyncio.run(work)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What is still buffered has nowhere to go; the interpreter would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except CallFailed as error:
        failure = error.failure
        if options.json:
            say(json.dumps(error_document(failure, hint=options.catalog_hint), ensure_ascii=False))
        else:
            say(error_line(failure, hint=options.catalog_hint))
        return exit_of_failure(failure)
