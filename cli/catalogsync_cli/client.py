"""The clients of the two services, with the options of the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from catalogsync_client import (
    BearerToken,
    CatalogClient,
    ConnectorClient,
    Credentials,
    NoCredentials,
    ServiceSecret,
    TokenFile,
)
from catalogsync_common.loopback import is_loopback_target

from catalogsync_cli.command import Options
from catalogsync_cli.output import print_notice


@asynccontextmanager
async def open_catalog(options: Options) -> AsyncIterator[CatalogClient]:
    """Yield a client of catalog_svc, connected at its first call; close its channel at the end."""
    _warn_of_plaintext(options, options.catalog)
    async with CatalogClient(
        options.catalog,
        credentials=credentials_of(options, prefers_secret=False),
        tls=options.client_tls(),
        timeout_seconds=options.timeout,
    ) as client:
        yield client


@asynccontextmanager
async def open_connector(options: Options) -> AsyncIterator[ConnectorClient]:
    """Yield a client of connector_svc, connected at its first call; close its channel at the end."""
    _warn_of_plaintext(options, options.connector)
    async with ConnectorClient(
        options.connector,
        credentials=credentials_of(options, prefers_secret=True),
        tls=options.client_tls(),
        timeout_seconds=options.timeout,
    ) as client:
        yield client


def credentials_of(options: Options, *, prefers_secret: bool) -> Credentials:
    """Return the credentials of a service.

    Args:
        options: with the token or its file, and the service secret.
        prefers_secret: which one is sent if both are given: the service secret, or else the token.
    """
    if options.service_secret and (prefers_secret or not _has_token(options)):
        return ServiceSecret(options.service_secret)
    if options.token_file is not None:
        return TokenFile(options.token_file)
    return BearerToken(options.token) if options.token else NoCredentials()


def _has_token(options: Options) -> bool:
    if options.token_file is None:
        return bool(options.token)
    try:
        return bool(options.token_file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return True


def _warn_of_plaintext(options: Options, address: str) -> None:
    """Print a warning if credentials are sent to another machine without encryption."""
    has_credentials = bool(options.token or options.token_file or options.service_secret)
    if has_credentials and options.client_tls() is None and not is_loopback_target(address):
        print_notice(f"Warning: credentials are sent to {address} without encryption; use --tls or --ca-file")
