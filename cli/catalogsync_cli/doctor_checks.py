"""The checks of `catalogsync doctor` that need no server package: its own settings, the services, and shops."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click
from catalogsync.catalog.v1.catalog_service_pb2 import ConnectionHealth, ListShopsRequest
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1.connector_service_pb2 import ListPlatformsRequest
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_client import CatalogSyncError, ShopName
from catalogsync_client.credentials import Credentials
from catalogsync_common.call_context import outgoing_metadata
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.diagnosis import Finding, Findings, Outcome, misspelt
from catalogsync_common.endpoint_checks import Answer, Endpoint, call_once, check_connection, utc_now
from catalogsync_common.loopback import is_loopback_target
from catalogsync_common.setting_names import unknown_names

from catalogsync_cli.client import credentials_of, open_catalog, open_connector
from catalogsync_cli.command import DEFAULT_CONNECTOR, Options
from catalogsync_cli.errors import next_step
from catalogsync_cli.formatting import sanitize

PREFIX: Final = "CATALOGSYNC_"
_OTHER_VARIABLES: Final = frozenset({"CATALOGSYNC_CONFIG", "CATALOGSYNC_SIGNING_KEY"})
"""Settings that are no option of the top-level command."""
_FINDINGS: Final = Findings("catalogsync")
_LISTED_SHOPS: Final = 3
_MAX_SHOPS: Final = 500


async def check_client(
    options: Options, shops: Sequence[ShopName], *, known_variables: frozenset[str]
) -> AsyncIterator[Finding]:
    """Yield the findings about the settings of the command line, both services, and shops.

    Args:
        options: Of the command line.
        shops: Whose credentials are tried.
        known_variables: The environment variables of the shared options.
    """
    yield _check_settings(known_variables)
    try:
        tls = options.client_tls()
    except click.UsageError as error:
        yield _FINDINGS.failed("TLS files", error.message)
        return
    async for finding in _check_catalog(options, tls):
        yield finding
    async for finding in _check_connector(options, tls, required=bool(shops)):
        yield finding
    for shop in shops:
        yield await _check_shop(options, shop)


def _check_settings(known_variables: frozenset[str]) -> Finding:
    check = "settings"
    found = [name for name in map(str.upper, os.environ) if name.startswith(PREFIX)]
    unknown = unknown_names(found, known_variables | _OTHER_VARIABLES, prefix=PREFIX, program="catalogsync")
    if unknown:
        return misspelt(_FINDINGS, check, "; ".join(unknown))
    return _FINDINGS.ok(check, f"{len(found)} of them are set in the environment, all of them are known")


async def _check_catalog(options: Options, tls: ClientTls | None) -> AsyncIterator[Finding]:
    endpoint = _endpoint("catalog_svc", options.catalog, "--catalog or CATALOGSYNC_CATALOG", tls)
    credentials = credentials_of(options, prefers_secret=False)
    connected = await check_connection(_FINDINGS, endpoint)
    for finding in connected:
        yield finding
    if (expiry := _check_token_expiry(options)) is not None:
        yield expiry
    if _has_failed(connected):
        return
    async with open_channel(options.catalog, tls=tls) as channel:
        answer = await call_once(
            CatalogServiceStub(channel).ListShops,
            ListShopsRequest(page_size=1),
            metadata=await _metadata(credentials),
            timeout_seconds=options.timeout or 10.0,
        )
    for finding in _answered(options, endpoint, answer):
        yield finding
    if answer.failure is None:
        yield await _check_shops(options)


async def _check_connector(options: Options, tls: ClientTls | None, *, required: bool) -> AsyncIterator[Finding]:
    endpoint = _endpoint("connector_svc", options.connector, "--connector or CATALOGSYNC_CONNECTOR", tls)
    connected = await check_connection(_FINDINGS, endpoint)
    if _has_failed(connected) and options.connector == DEFAULT_CONNECTOR and not required:
        yield _FINDINGS.skipped(
            "connection to connector_svc",
            f"not at {DEFAULT_CONNECTOR}; give its address with --connector, or run this where it runs",
        )
        return
    for finding in connected:
        yield finding
    if _has_failed(connected):
        return
    async with open_channel(options.connector, tls=tls) as channel:
        answer = await call_once(
            ConnectorServiceStub(channel).ListPlatforms,
            ListPlatformsRequest(),
            metadata=await _metadata(credentials_of(options, prefers_secret=True)),
            timeout_seconds=options.timeout or 10.0,
        )
    for finding in _answered(options, endpoint, answer):
        yield finding


def _endpoint(service: str, address: str, setting: str, tls: ClientTls | None) -> Endpoint:
    return Endpoint(
        service=service,
        address=address,
        address_setting=setting,
        ca_setting="--ca-file or CATALOGSYNC_CA_FILE",
        name_setting=setting,
        tls=tls,
    )


async def _metadata(credentials: Credentials) -> tuple[tuple[str, str], ...]:
    return (*outgoing_metadata(), *await credentials.metadata())


def _has_failed(findings: Sequence[Finding]) -> bool:
    return any(finding.outcome is Outcome.FAILED for finding in findings)


def _answered(options: Options, endpoint: Endpoint, answer: Answer) -> list[Finding]:
    """Return what a call says about the credentials, their protection, and the clock."""
    found = [_credentials_finding(options, endpoint, answer)]
    has_credentials = bool(options.token or options.token_file or options.service_secret)
    if has_credentials and endpoint.tls is None and not is_loopback_target(endpoint.address):
        problem = f"credentials are sent to {endpoint.address} without encryption: use --tls or --ca-file"
        found.append(_FINDINGS.warning("encryption", problem))
    if answer.ahead is not None:
        check = f"clock of {endpoint.service}"
        found.append(_FINDINGS.clock(check, endpoint.service, answer.ahead, uncertainty=answer.uncertainty))
    return found


def _credentials_finding(options: Options, endpoint: Endpoint, answer: Answer) -> Finding:
    is_catalog = endpoint.service == "catalog_svc"
    check = "token for catalog_svc" if is_catalog else "secret for connector_svc"
    failure = answer.failure
    if failure is None:
        return _FINDINGS.ok(check, f"{endpoint.service} accepts this caller")
    if not failure.reason:
        problem = (
            f"{endpoint.service} closes the connection before it answers: it requires TLS (--tls, --ca-file) or a "
            "client certificate that it trusts (--cert-file, --key-file)"
        )
        return _FINDINGS.failed(f"connection to {endpoint.service}", problem)
    advice = _CREDENTIAL_ADVICE.get((is_catalog, failure.reason))
    if advice is None:
        step = next_step(failure, hint=options.catalog_hint)
        text = f"{endpoint.service} answers {failure.reason}: {sanitize(failure.message)}"
        return _FINDINGS.failed(check, f"{text}; {step}" if step else text)
    return _FINDINGS.failed(check, advice)


_CREDENTIAL_ADVICE: Final = {
    (True, "UNAUTHENTICATED"): (
        "catalog_svc refuses the token, or there is none: mint one with `catalogsync token` and a key of its "
        "CATALOG_OPERATOR_KEYS, and set CATALOGSYNC_TOKEN_FILE"
    ),
    (True, "TOKEN_EXPIRED"): "the token has expired: mint another one with `catalogsync token`",
    (True, "PERMISSION_DENIED"): "the token lacks a scope: mint one with `catalogsync token --scope catalog:read`",
    (False, "UNAUTHENTICATED"): (
        "connector_svc refuses the service secret, or there is none: set CATALOGSYNC_SERVICE_SECRET to a "
        "name:secret of its CONNECTOR_SERVICE_SECRETS"
    ),
}
"""What to do, by whether catalog_svc answers and the reason."""


def _check_token_expiry(options: Options) -> Finding | None:
    """Return when the token expires, by its own claim; None if there is no token that says so."""
    # Here, since most commands need no JWT.
    import jwt

    try:
        token = options.token_file.read_text(encoding="utf-8").strip() if options.token_file else options.token
        claims = jwt.decode(token, options={"verify_signature": False}) if token else {}
        ends = datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (OSError, KeyError, TypeError, ValueError, OverflowError, jwt.PyJWTError):
        return None
    text = f"{ends:%Y-%m-%d %H:%M:%SZ}"
    if ends > utc_now():
        return _FINDINGS.ok("token", f"it is valid until {text}")
    return _FINDINGS.failed("token", f"it has expired on {text}: mint another one with `catalogsync token`")


async def _check_shops(options: Options) -> Finding:
    """Return which registered shops cannot be read, as the last syncs have found out."""
    check = "shops"
    request = ListShopsRequest(page_size=_MAX_SHOPS, connection_state=ConnectionHealth.STATE_BROKEN)
    try:
        async with open_catalog(options) as client:
            page = await client.list_shops(request)
    except CatalogSyncError as error:
        return _FINDINGS.failed(check, f"they cannot be listed: {sanitize(error.message)}")
    if not page.shops:
        return _FINDINGS.ok(check, "no registered shop has a broken connection")
    names = ", ".join(str(ShopName.of(each.shop)) for each in page.shops[:_LISTED_SHOPS])
    count = f"{len(page.shops):,}{' or more' if page.next_page_token else ''}"
    more = ", ..." if len(page.shops) > _LISTED_SHOPS else ""
    return _FINDINGS.warning(
        check,
        f"{count} cannot be read until their connection is repaired ({names}{more}): see "
        f"`catalogsync{options.catalog_hint} shops list --state broken` and `shops show SHOP`",
    )


async def _check_shop(options: Options, shop: ShopName) -> Finding:
    check = f"credentials of {shop}"
    try:
        async with open_connector(options) as client:
            await client.check_shop(shop)
    except CatalogSyncError as error:
        failure = error.failure
        step = (
            next_step(failure, hint=options.catalog_hint) or "give connector_svc credentials that the shop accepts"
        )
        reason = failure.reason or failure.code.name
        return _FINDINGS.failed(check, f"{sanitize(failure.message)} [{sanitize(reason)}]; {step}")
    return _FINDINGS.ok(check, "the shop accepts them")
