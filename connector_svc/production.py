"""What connector_svc refuses to start with in production, in addition to what every service refuses."""

from __future__ import annotations

from typing import Final

from catalogsync_common.production import Rule, is_plaintext_url_beyond_loopback

from connector_svc.settings import ConnectorSettings


def _token_service(settings: ConnectorSettings) -> str | None:
    url = settings.token_service_url
    if not url or not is_plaintext_url_beyond_loopback(url):
        return None
    return "CONNECTOR_TOKEN_SERVICE_URL: must begin with https://, since it returns the credentials of shops."


def _endpoint_overrides(settings: ConnectorSettings) -> str | None:
    if not settings.endpoint_overrides:
        return None
    return "CONNECTOR_ENDPOINT_OVERRIDES: must not be set in production, since they lead into internal networks."


PRODUCTION_RULES: Final[tuple[Rule[ConnectorSettings], ...]] = (_token_service, _endpoint_overrides)
