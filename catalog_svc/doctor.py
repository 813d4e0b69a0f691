"""`python -m catalog_svc doctor`: checks the settings of this machine and what they lead to.

It changes nothing: no schema is migrated, no port is opened, and no data directory is created.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.auth.settings import token_access
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.diagnosis import Finding, Findings
from catalogsync_common.endpoint_checks import Clock, Endpoint, call_once, check_connection, utc_now
from catalogsync_common.principal import Principal
from catalogsync_common.rpc_spans import ClientCallSpan
from catalogsync_common.service_checks import check_production, check_server_tls, check_tls_files, load_checked
from catalogsync_common.settings import SettingsError
from catalogsync_common.tls_files import TlsFiles
from catalogsync_common.tls_settings import open_client_tls
from sqlalchemy.engine import make_url

from catalog_svc.bootstrap import ANALYSIS_SERVICE_NAME, SERVICE_NAME
from catalog_svc.production import PRODUCTION_RULES
from catalog_svc.settings import CatalogSettings
from catalog_svc.source.connector_client import CallCredentials
from catalog_svc.storage.database_checks import check_database
from catalog_svc.storage.embedded import embedded_postgres, service_url
from catalog_svc.storage.engine import open_engine

_FINDINGS: Final = Findings("catalog_svc")


async def diagnose(*, clock: Clock = utc_now) -> AsyncIterator[Finding]:
    """Yield the findings of all checks, with the settings of this process.

    Args:
        clock: The clock of this machine.
    """
    settings, found = load_checked(_FINDINGS, CatalogSettings)
    for finding in found:
        yield finding
    if settings is None:
        return
    yield check_production(_FINDINGS, settings, PRODUCTION_RULES)
    yield _check_keys(settings)
    for finding in check_server_tls(_FINDINGS, settings, clock=clock):
        yield finding
    async for finding in _check_database(settings, clock):
        yield finding
    async for finding in _check_connector(settings, clock):
        yield finding


class _NoShops:
    """A `ShopAccess` for keys that are only parsed: it is never called."""

    async def check(self, principal: Principal, request: Any, shop_field: str) -> None:
        raise NotImplementedError


def _check_keys(settings: CatalogSettings) -> Finding:
    check = "keys of callers"
    names = (SERVICE_NAME, ANALYSIS_SERVICE_NAME)
    try:
        access = token_access(names, settings, settings.service_secrets, _NoShops(), prefix="CATALOG_")
    except SettingsError as error:
        return _FINDINGS.failed(check, "; ".join(error.lines))
    if access is None:
        message = "authentication is off: everyone who reaches the port may call; set CATALOG_SERVICE_SECRETS"
        return _FINDINGS.warning(check, message)
    return _FINDINGS.ok(check, "authentication is on")


async def _check_database(settings: CatalogSettings, clock: Clock) -> AsyncIterator[Finding]:
    try:
        async with _database_url(settings) as url:
            if url is None:
                yield _FINDINGS.warning(
                    "database connection",
                    f"CATALOG_DATABASE_URL is not set, and {settings.data_dir} holds no database yet: set it, "
                    "unless this is a development machine, where the first start creates one there",
                )
                return
            engine = open_engine(url, pool_size=1, pooled=settings.database_pooled)
            try:
                async for finding in check_database(
                    _FINDINGS,
                    engine,
                    address=_address(url),
                    pooled=settings.database_pooled,
                    production=settings.environment == "production",
                    clock=clock,
                ):
                    yield finding
            finally:
                await engine.dispose()
    except SettingsError as error:
        yield _FINDINGS.failed("database connection", "; ".join(error.lines))


@asynccontextmanager
async def _database_url(settings: CatalogSettings) -> AsyncIterator[str | None]:
    """Yield the URL of the service's role; None if there is no database yet."""
    if url := settings.database_url.get_secret_value():
        yield url
    elif (settings.data_dir / "PG_VERSION").exists():
        async with embedded_postgres(settings.data_dir) as embedded:
            yield service_url(embedded)
    else:
        yield None


def _address(url: str) -> str:
    parsed = make_url(url)
    host = parsed.host or str(parsed.query.get("host", "the local socket"))
    return f"{host}:{parsed.port or 5432}/{parsed.database or ''}"


async def _check_connector(settings: CatalogSettings, clock: Clock) -> AsyncIterator[Finding]:
    try:
        files = open_client_tls(settings, "connector")
    except SettingsError as error:
        yield _FINDINGS.failed("TLS files of the client of connector_svc", "; ".join(error.lines))
        return
    if files is not None:
        for finding in check_tls_files(_FINDINGS, "TLS files of the client of connector_svc", files, clock=clock):
            yield finding
    endpoint = Endpoint(
        service="connector_svc",
        address=settings.connector_address,
        address_setting="CATALOG_CONNECTOR_ADDRESS",
        ca_setting="CATALOG_CONNECTOR_TLS_CA_FILE",
        name_setting="CATALOG_CONNECTOR_TLS_SERVER_NAME",
        tls=_client_tls(files, settings) if files is not None else None,
    )
    found = await check_connection(_FINDINGS, endpoint, clock=clock)
    for finding in found:
        yield finding
    if not any(finding.outcome == "failed" for finding in found):
        async for finding in _check_calls(settings, endpoint, clock):
            yield finding


def _client_tls(files: TlsFiles, settings: CatalogSettings) -> ClientTls:
    material = files.current()
    return ClientTls(
        ca=material.ca,
        certificate_chain=material.pair.certificate_chain if material.pair else None,
        private_key=material.pair.private_key if material.pair else None,
        server_name=settings.connector_tls_server_name,
    )


async def _check_calls(settings: CatalogSettings, endpoint: Endpoint, clock: Clock) -> AsyncIterator[Finding]:
    credentials = CallCredentials(secret=settings.connector_secret.get_secret_value())
    request = pb.ListPlatformsRequest()
    async with open_channel(endpoint.address, tls=endpoint.tls) as channel:
        with ClientCallSpan(request) as span:
            answer = await call_once(
                ConnectorServiceStub(channel).ListPlatforms,
                request,
                metadata=credentials.metadata(span),
                clock=clock,
            )
    check = "secret for connector_svc"
    failure = answer.failure
    if failure is None:
        yield _FINDINGS.ok(check, "connector_svc answers catalog_svc")
    elif failure.reason in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        yield _FINDINGS.failed(
            check,
            "connector_svc refuses CATALOG_CONNECTOR_SECRET: set it to a name:secret of CONNECTOR_SERVICE_SECRETS",
        )
    elif failure.reason:
        yield _FINDINGS.failed(check, f"connector_svc answers {failure.reason}: {failure.message}")
    else:
        yield _FINDINGS.failed(
            "connection to connector_svc",
            "connector_svc closes the connection before it answers: it requires TLS "
            "(CATALOG_CONNECTOR_TLS_CA_FILE) or a client certificate that it trusts "
            "(CATALOG_CONNECTOR_TLS_CERT_FILE)",
        )
    if answer.ahead is not None:
        yield _FINDINGS.clock(
            "clock of connector_svc", "connector_svc", answer.ahead, uncertainty=answer.uncertainty
        )
