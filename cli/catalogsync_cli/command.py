"""Shared by all commands: the options for addresses, token, time limit and JSON, and running a coroutine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click
from catalogsync_client import CatalogSyncError
from catalogsync_client.caller import DEFAULT_TIMEOUT_SECONDS
from catalogsync_client.connector import CHECK_TIMEOUT_SECONDS
from catalogsync_client.credentials import is_sendable
from catalogsync_common.call_context import correlated
from catalogsync_common.client_tls import ClientTls, ClientTlsInvalid

from catalogsync_cli.contexts import ContextInvalid, config_file, load_contexts
from catalogsync_cli.errors import error_document, error_line
from catalogsync_cli.exit_codes import ExitCode, exit_code_of_failure
from catalogsync_cli.output import OutputFormat, print_notice

DEFAULT_CATALOG = "127.0.0.1:50051"
DEFAULT_CONNECTOR = "127.0.0.1:50052"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The shared options, from the command line or else from the environment."""

    catalog: str = DEFAULT_CATALOG
    connector: str = DEFAULT_CONNECTOR
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """A file with the token, read again before each call: whoever renews the token writes it there."""
    service_secret: str = field(default="", repr=False)
    """"name:secret", for connector_svc, which only services may call."""
    tls: bool = False
    """Whether to connect with TLS; each of the following files turns it on as well."""
    ca_file: str = ""
    """PEM: the CAs of the services; empty: the public CAs."""
    cert_file: str = ""
    """PEM: the client certificate, with `key_file`."""
    key_file: str = ""
    timeout: float | None = None
    """Seconds that one call may take; None: the default of the call."""
    output: OutputFormat = OutputFormat.TABLE

    @property
    def json(self) -> bool:
        """Whether to print JSON, errors included."""
        return self.output is OutputFormat.JSON

    @property
    def catalog_hint(self) -> str:
        """The options that a suggested command needs to reach the same catalog: " --catalog host:port" or ""."""
        values = {
            "--catalog": "" if self.catalog == DEFAULT_CATALOG else self.catalog,
            "--ca-file": self.ca_file,
            "--cert-file": self.cert_file,
            "--key-file": self.key_file,
        }
        flag = " --tls" if self.tls and not self.ca_file else ""
        return flag + "".join(f" {option} {quote(value)}" for option, value in values.items() if value)

    def client_tls(self) -> ClientTls | None:
        """Return the TLS configuration of the connections; None: plaintext.

        Raises:
            click.UsageError: a file cannot be used.
        """
        if not (self.tls or self.ca_file or self.cert_file or self.key_file):
            return None
        try:
            return ClientTls.read(
                ca_file=_path(self.ca_file), certificate_file=_path(self.cert_file), key_file=_path(self.key_file)
            )
        except ClientTlsInvalid as error:
            raise click.UsageError(f"{error} (--ca-file, --cert-file and --key-file)") from None


def group_options(command: F) -> F:
    """Add the shared options to the top-level command, with defaults and environment variables."""
    return _with_options(command, hidden=False)


def command_options(command: F) -> F:
    """Add the shared options to a subcommand, so that they may also follow it."""
    return _with_options(command, hidden=True)


def current_options() -> Options:
    """Return the options of the running command."""
    options: Options | None = click.get_current_context().obj
    return options or Options()


def run(work: Coroutine[Any, Any, ExitCode], options: Options) -> ExitCode:
    """Run a command's coroutine and return its exit code; print a failed call to standard error."""
    try:
        with correlated():
            code = asyncio.run(work)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The buffered output has no reader; without this the interpreter prints an error when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except CatalogSyncError as error:
        failure = error.failure
        if options.json:
            print_notice(json.dumps(error_document(failure, hint=options.catalog_hint), ensure_ascii=False))
        else:
            print_notice(error_line(failure, hint=options.catalog_hint))
        return exit_code_of_failure(failure)


def _with_options(command: F, *, hidden: bool) -> F:
    for decorate in reversed(_option_decorators(hidden=hidden)):
        command = decorate(command)
    return command


def _option_decorators(*, hidden: bool) -> list[Callable[[F], F]]:
    def option(name: str, env: str | None, text: str, **settings: Any) -> Callable[[F], F]:
        # Only the top-level command reads the environment; in a subcommand it would override the top-level option.
        settings = {"callback": _store_option, "hidden": hidden, **settings}
        return click.option(name, envvar=None if hidden else env, expose_value=False, help=text, **settings)

    catalog = f"Address of catalog_svc. [default: {DEFAULT_CATALOG}; env: CATALOGSYNC_CATALOG]"
    connector = f"Address of connector_svc. [default: {DEFAULT_CONNECTOR}; env: CATALOGSYNC_CONNECTOR]"
    token = "Bearer token to send; prefer the environment. [env: CATALOGSYNC_TOKEN]"
    tls = "Use TLS, and trust the public CAs unless --ca-file is set. [env: CATALOGSYNC_TLS]"
    ca_file = "Use TLS, and trust the CAs in this PEM file. [env: CATALOGSYNC_CA_FILE]"
    cert_file = "PEM file with a client certificate, for mTLS. [env: CATALOGSYNC_CERT_FILE]"
    key_file = "PEM file with the key of the client certificate. [env: CATALOGSYNC_KEY_FILE]"
    defaults = f"default: {DEFAULT_TIMEOUT_SECONDS:.0f}; check: {CHECK_TIMEOUT_SECONDS:.0f}"
    token_file = "File with the token, read again before each call. [env: CATALOGSYNC_TOKEN_FILE]"
    secret = "name:secret of a service; connector_svc takes no tokens. [env: CATALOGSYNC_SERVICE_SECRET]"
    timeout = f"Time limit of one call, in seconds. [{defaults}]"
    context = "Context to use instead of the current one; see `catalogsync context`. [env: CATALOGSYNC_CONTEXT]"
    return [
        # Eager: its settings are stored before those of the other options, which override them.
        option(
            "--context", "CATALOGSYNC_CONTEXT", context, metavar="NAME", is_eager=True, callback=_store_context
        ),
        option("--catalog", "CATALOGSYNC_CATALOG", catalog, metavar="HOST:PORT"),
        option("--connector", "CATALOGSYNC_CONNECTOR", connector, metavar="HOST:PORT"),
        option("--token", "CATALOGSYNC_TOKEN", token, metavar="TOKEN", callback=_store_credential),
        option(
            "--token-file",
            "CATALOGSYNC_TOKEN_FILE",
            token_file,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
        ),
        option(
            "--service-secret",
            "CATALOGSYNC_SERVICE_SECRET",
            secret,
            metavar="NAME:SECRET",
            callback=_store_credential,
        ),
        option("--tls", "CATALOGSYNC_TLS", tls, is_flag=True),
        option("--ca-file", "CATALOGSYNC_CA_FILE", ca_file, metavar="FILE"),
        option("--cert-file", "CATALOGSYNC_CERT_FILE", cert_file, metavar="FILE"),
        option("--key-file", "CATALOGSYNC_KEY_FILE", key_file, metavar="FILE"),
        option("--timeout", None, timeout, type=click.FloatRange(min=0, min_open=True)),
        option(
            "--output",
            "CATALOGSYNC_OUTPUT",
            f"Format: {', '.join(OutputFormat)} (more columns). [default: table; env: CATALOGSYNC_OUTPUT]",
            type=click.Choice(OutputFormat, case_sensitive=False),
            hidden=False,
        ),
        option(
            "--json",
            None,
            "Print JSON, errors included; same as --output json.",
            is_flag=True,
            hidden=False,
            callback=_store_json,
        ),
    ]


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _store_option(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a given value; an option after the command overrides the top-level one and the environment."""
    if value is None or value is False:
        return
    options: Options = ctx.obj or Options()
    ctx.obj = replace(options, **{str(param.name): value})


def _store_context(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Store the settings of the named context, or of the current one; explicit options override them."""
    if ctx.obj is not None and value is None:
        # Of a subcommand: the top-level command has stored the current context.
        return
    try:
        contexts = load_contexts(config_file())
        name = value or contexts.current
        settings: dict[str, Any] = dict(contexts.get(name)) if name else {}
    except ContextInvalid as error:
        raise click.UsageError(str(error)) from None
    if token_file := settings.get("token_file"):
        settings["token_file"] = Path(token_file)
    ctx.obj = replace(ctx.obj or Options(), **settings)


def _store_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj = replace(ctx.obj or Options(), output=OutputFormat.JSON)


def _store_credential(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    credential = (value or "").strip()
    # grpc would quote a value that it cannot send in its error message; ours must not contain the credential.
    if not is_sendable(credential):
        raise click.BadParameter("contains characters that cannot be sent (it is not shown here)")
    _store_option(ctx, param, credential or None)
