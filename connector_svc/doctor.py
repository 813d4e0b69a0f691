"""`python -m connector_svc doctor`: checks the settings of this machine and what they lead to; changes nothing."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Final

from catalogsync_common.auth.settings import service_access
from catalogsync_common.diagnosis import Finding, Findings
from catalogsync_common.endpoint_checks import Clock, utc_now
from catalogsync_common.service_checks import check_production, check_server_tls, load_checked
from catalogsync_common.settings import SettingsError

from connector_svc.bootstrap import SERVICE_NAME, http_config
from connector_svc.credentials.file import CredentialsFileInvalid, FileCredentials
from connector_svc.credentials.token_service import TokenServiceConfig, token_request
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.failures import HttpFailure
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Secret
from connector_svc.platforms.registry import PLATFORMS
from connector_svc.production import PRODUCTION_RULES
from connector_svc.settings import ConnectorSettings, settings_with_options

_FINDINGS: Final = Findings("connector_svc")
_UNKNOWN_DOMAIN: Final = "doctor.catalogsync.invalid"
"""Of no shop (RFC 2606): the Token Service answers that it has no credentials, if it accepts its caller."""


async def diagnose(*, clock: Clock = utc_now) -> AsyncIterator[Finding]:
    """Yield the findings of all checks, with the settings of this process.

    Args:
        clock: The clock of this machine.
    """
    settings, found = load_checked(_FINDINGS, settings_with_options(PLATFORMS))
    for finding in found:
        yield finding
    if settings is None:
        return
    yield check_production(_FINDINGS, settings, PRODUCTION_RULES)
    yield _check_keys(settings)
    for finding in check_server_tls(_FINDINGS, settings, clock=clock):
        yield finding
    for finding in _check_credentials(settings):
        yield finding
    yield await _check_http(settings)


def _check_keys(settings: ConnectorSettings) -> Finding:
    check = "secrets of callers"
    try:
        access = service_access((SERVICE_NAME,), settings.service_secrets, prefix="CONNECTOR_")
    except SettingsError as error:
        return _FINDINGS.failed(check, "; ".join(error.lines))
    if access is None:
        message = "authentication is off: everyone who reaches the port may call; set CONNECTOR_SERVICE_SECRETS"
        return _FINDINGS.warning(check, message)
    return _FINDINGS.ok(check, "authentication is on")


def _check_credentials(settings: ConnectorSettings) -> Iterator[Finding]:
    check, file = "credentials of shops", settings.credentials_file
    if file is None:
        if settings.token_service is None:
            yield _FINDINGS.failed(
                check,
                "no shop can be read: set CONNECTOR_CREDENTIALS_FILE (`catalogsync import-credentials` writes "
                "one) or CONNECTOR_TOKEN_SERVICE_URL",
            )
        return
    try:
        count = FileCredentials(file).shop_count
    except CredentialsFileInvalid as error:
        yield _FINDINGS.failed(check, f"CONNECTOR_CREDENTIALS_FILE: {error}")
        return
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield _FINDINGS.warning(check, f"other users of this machine may use {file}: run chmod 600 {file}")
    else:
        yield _FINDINGS.ok(check, f"{file} holds those of {count:,} shops")


async def _check_http(settings: ConnectorSettings) -> Finding:
    """Check what requests to shops need, and the Token Service if there is one."""
    check = "Token Service"
    try:
        config = http_config(settings)
    except SettingsError as error:
        return _FINDINGS.failed("CAs of shops", "; ".join(error.lines))
    if settings.token_service is None:
        return _FINDINGS.skipped(check, "CONNECTOR_TOKEN_SERVICE_URL is not set")
    secret = settings.token_service_secret
    service = TokenServiceConfig(
        base_url=settings.token_service, secret=Secret(secret.get_secret_value()) if secret else None
    )
    request = token_request(service, Shop(PLATFORMS[0].name, _UNKNOWN_DOMAIN))
    async with open_http(config) as http:
        try:
            reply = await http.services.send(request, policy=RetryPolicy(attempts=1))
        except HttpFailure as failure:
            problem = f"it does not answer ({failure.detail}): start it, or correct CONNECTOR_TOKEN_SERVICE_URL"
            return _FINDINGS.failed(check, problem)
    return _token_service_finding(check, reply.status)


def _token_service_finding(check: str, status: int) -> Finding:
    if status == HTTPStatus.NOT_FOUND:
        return _FINDINGS.ok(check, "it answers, and accepts connector_svc")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _FINDINGS.failed(
            check, f"it refuses connector_svc (HTTP {status}): correct CONNECTOR_TOKEN_SERVICE_SECRET"
        )
    return _FINDINGS.failed(
        check,
        f"it answers HTTP {status} for a shop that it cannot know, not 404: correct CONNECTOR_TOKEN_SERVICE_URL",
    )
